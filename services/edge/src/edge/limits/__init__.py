"""Limits: how many requests, tokens and streams a key, user, tenant, tier or model may have."""
