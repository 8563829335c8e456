"""Small programs of the stack in docker-compose.yml; in its image."""
