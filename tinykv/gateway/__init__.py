"""A store's front without data: any number of gateways take clients to the stores that lead."""
