"""Can the user's own functions be imported?"""

from __future__ import annotations

from router.spec.models import GraphSpec
from router.spec.positions import Finding, Findings
from router.spec.tools import FunctionTools
from router.user_function import load_user_function


def check_functions(spec: GraphSpec) -> Findings:
    """Imports the modules of function tools: it runs their code."""
    for index, source in enumerate(spec.tools):
        if isinstance(source, FunctionTools):
            try:
                load_user_function(source.function, source.folder)
            except ImportError as error:
                fix = "correct it, install the package, or put the module beside the spec"
                yield Finding(("tools", index, "function"), "a function that can be imported", str(error), fix)
