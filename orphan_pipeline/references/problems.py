"""What a source's statement says about a value that is no key, as one line for a person."""

from orphan_pipeline.references.documents.problems import PROBLEMS

EMPTY = "the value is an empty string, which is no key; leave such rows out of the source, or correct them"


def problem_text(problem: str) -> str:
    """The text of a statement's `problem` column: nothing stands for an empty value, JSON for a place in a document."""
    if not problem:
        return EMPTY
    return str(PROBLEMS.validate_json(problem)) if problem.startswith("{") else problem
