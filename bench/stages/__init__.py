"""The stages of the workflow, one function a rule."""
