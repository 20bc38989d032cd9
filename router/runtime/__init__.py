"""Runs graphs: DiGraph and engines become a LangGraph StateGraph."""
