"""The token router: how critical is the next token of a small model? (R2R, "Small-Large Model Token Routing")"""
