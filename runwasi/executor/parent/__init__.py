"""The parent's half of create and exec: it claims, forks, equips and answers the child."""
