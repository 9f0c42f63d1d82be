"""Networks that are known by name, as plain modules, without exits: `models` cuts them."""
