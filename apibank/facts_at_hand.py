"""What is known about credentials now, looked up for one question: nothing is followed, noted or counted."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from prometheus_client import CollectorRegistry

from apibank.consent_facts import ConsentsOnBoard, ask_ages
from apibank.partner_keys import KeysOnBoard
from apibank.revoked_tokens import RevocationsOnBoard
from authz.facts import Facts, FactsBoard
from authz.identity.keys import source_of
from authz.metrics import AuthzMetrics
from authz.sources import CredentialSources
from policy.model import Gateway
from records.api_keys import ApiKeys
from records.consents import ConsentRecords
from records.database import Database
from records.errors import LOST_DATABASE
from records.revocations import TokenRevocations


@dataclass(frozen=True, slots=True)
class FactsAtHand:
    """The facts of one gateway. `sources` may find a key that they lack; `notes` say what could not be looked up."""

    board: FactsBoard
    sources: CredentialSources
    notes: Sequence[str]

    @property
    def facts(self) -> Facts:
        return self.board.current


@asynccontextmanager
async def facts_at_hand(gateway: Gateway, database: Database | None) -> AsyncIterator[FactsAtHand]:
    """Issuers' keys are fetched with the code of the gateway's own process; keys and records come from the database.

    Secrets in files are those of the machine that asks. Raises PolicyUnusableError.
    """
    board, notes = FactsBoard(), list[str]()
    async with httpx2.AsyncClient(trust_env=False) as client:
        # Figures of a registry that nobody reads.
        sources = CredentialSources(board, AuthzMetrics(CollectorRegistry(), gateway.gateway), client)
        try:
            await sources.apply(gateway)
            if gateway.agents is not None and board.current.agent_secrets is None:
                notes.append("the secrets of agents are not on this machine")
            for name, issuer in gateway.issuers.items():
                if source_of(name, issuer) not in board.current.key_sets:
                    notes.append(f"the keys of the issuer {name} cannot be had here")
            notes += await _records(gateway, database, board)
            yield FactsAtHand(board, sources, notes)
        finally:
            await sources.close()


async def _records(gateway: Gateway, database: Database | None, board: FactsBoard) -> list[str]:
    if database is None:
        return ["partner keys, revocations and consents are not known without a database"]
    try:
        keys = KeysOnBoard(ApiKeys(database), board, time.time)
        await keys.reload()
        keys.confirm()
        await RevocationsOnBoard(TokenRevocations(database), board).reload()
        if ask_ages([gateway]):
            consents = ConsentsOnBoard(ConsentRecords(database), board)
            await consents.reload()
            consents.confirm()
    except LOST_DATABASE:
        return ["the database is away: partner keys, revocations and consents are not known"]
    return []
