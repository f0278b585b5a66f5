"""All commands of `runtime`, made in what forks the processes that run one each."""

from runtime.cli.app import app, tree

tree(app)
