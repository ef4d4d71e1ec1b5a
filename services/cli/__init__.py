"""The command `ringfence`: one module a command. Heavy imports happen inside the commands, so that `--help` stays quick."""
