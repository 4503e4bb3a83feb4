"""The API: what a person writes, what the controller says, and what the API server checks. Pure."""
