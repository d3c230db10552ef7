"""Agents in Mesa that give each other money by chance."""

from __future__ import annotations

import mesa
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

made = 0


class Market(ExperimentInputSpec):
    agents: int = Field(gt=1, description="Agents")
    steps: int = Field(gt=0, description="Steps")


class Wealth(ExperimentOutputSpec):
    gini: float = Field(description="Gini coefficient")
    richest: int = Field(description="Number of the richest agent")
    made: int = Field(description="Agents that were made in this process")


class Agent(mesa.Agent):
    """Has money, and gives some away."""

    def __init__(self, model: mesa.Model) -> None:
        global made
        made += 1
        super().__init__(model)
        self.money = 1

    def act(self) -> None:
        """Give a coin to someone."""
        if self.money:
            self.money -= 1
            self.random.choice(list(self.model.agents)).money += 1


class Town(mesa.Model):
    """Where they live."""

    def __init__(self, n: int, seed: int) -> None:
        super().__init__(seed=seed)
        Agent.create_agents(self, n)

    def step(self) -> None:
        """Each of them acts once, in any order."""
        self.agents.shuffle_do("act")


@ExperimentRegistry.Register(isolation="row")
def simulate(market: Market) -> Wealth:
    """Let them."""
    town = Town(market.agents, seed=market.seed % 2**32)
    for _ in range(market.steps):
        town.step()
    money = sorted(agent.money for agent in town.agents)
    n, total = len(money), sum(money)
    gini = 1 + 1 / n - 2 * sum(x * (n - i) for i, x in enumerate(money)) / (n * total)
    richest = max(town.agents, key=lambda agent: (agent.money, agent.unique_id)).unique_id
    return Wealth(gini=gini, richest=richest, made=made)
