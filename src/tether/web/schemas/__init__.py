"""What goes in and comes out of the API, as pydantic models: they check what comes in and write the OpenAPI document."""
