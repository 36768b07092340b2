from tests.services import postgres, valkey_url

__all__ = ["postgres", "valkey_url"]
