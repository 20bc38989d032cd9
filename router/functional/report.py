"""What training functional tokens reports; it is stored with them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingReport(BaseModel):
    """Scores on rows that were not trained on, with the baselines beside them. Shares are in [0, 1]."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    backbone: Literal["encoder", "decoder"]
    tune: Literal["rows", "encoder", "lora", "model"]
    seed: int
    train_rows: int
    validation_rows: int
    accuracy: float = Field(description="validation accuracy of the trained tokens")
    prior_accuracy: float = Field(description="of the untrained tokens: descriptions and examples alone")
    best_single: float = Field(description="of always choosing the most frequent node")
    random: float = Field(description="of choosing by chance among the nodes")
    ece_before: float = Field(description="expected calibration error at temperature 1")
    ece_after: float = Field(description="at the chosen temperature, measured on other rows than it was chosen on")
    regularisation: float = Field(description="lambda of lambda * ||E - E0||^2; infinity: E0 was best")
    epochs: float = Field(0.0, description="passes over the data of the model kept; 0 if only rows were fitted")
    exact_reformulation: float | None = Field(
        None, description="share of reformulated queries reproduced exactly (decoder)"
    )
    seconds: float = 0.0
