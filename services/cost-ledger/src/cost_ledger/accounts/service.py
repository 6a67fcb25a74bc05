"""The RPCs of `AccountsService`: who may use the gateway."""

from __future__ import annotations

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.keys import Keys
from cost_ledger.accounts.kinds import KEY, TEAM, TENANT, USER
from cost_ledger.answering import CallContext, Calls
from cost_ledger.budgets.budgets import Budget, Budgets, budget_in, message_of
from cost_ledger.metrics import Metrics
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.accounts.v1 import accounts_pb2_grpc


class AccountsService(accounts_pb2_grpc.AccountsServiceServicer):
    """Answers from Postgres, or UNAVAILABLE while it is away."""

    def __init__(self, accounts: Accounts, keys: Keys, budgets: Budgets, metrics: Metrics) -> None:
        self._accounts = accounts
        self._budgets = budgets
        self._keys = keys
        self._calls = Calls(metrics)

    async def CreateTenant(  # noqa: N802
        self, request: accountspb.CreateTenantRequest, context: CallContext
    ) -> accountspb.CreateTenantResponse:
        """Record a tenant."""
        work = self._accounts.create(TENANT, request.actor, request.tenant)
        return accountspb.CreateTenantResponse(tenant=await self._calls.answer(context, work))

    async def GetTenant(  # noqa: N802
        self, request: accountspb.GetTenantRequest, context: CallContext
    ) -> accountspb.GetTenantResponse:
        """Show a tenant."""
        work = self._accounts.get(TENANT, request.tenant)
        return accountspb.GetTenantResponse(tenant=await self._calls.answer(context, work))

    async def ListTenants(  # noqa: N802
        self, request: accountspb.ListTenantsRequest, context: CallContext
    ) -> accountspb.ListTenantsResponse:
        """Return a page of the tenants."""
        work = self._accounts.list(TENANT, request.page_size, request.page_token)
        page = await self._calls.answer(context, work)
        return accountspb.ListTenantsResponse(tenants=page.items, next_page_token=page.next_token)

    async def UpdateTenant(  # noqa: N802
        self, request: accountspb.UpdateTenantRequest, context: CallContext
    ) -> accountspb.UpdateTenantResponse:
        """Change a tenant."""
        work = self._accounts.update(TENANT, request.actor, request.tenant, request.mask.paths)
        return accountspb.UpdateTenantResponse(tenant=await self._calls.answer(context, work))

    async def DisableTenant(  # noqa: N802
        self, request: accountspb.DisableTenantRequest, context: CallContext
    ) -> accountspb.DisableTenantResponse:
        """Disable a tenant, or enable it again."""
        work = self._accounts.set_disabled(TENANT, request.actor, request.tenant, disabled=not request.enable)
        return accountspb.DisableTenantResponse(tenant=await self._calls.answer(context, work))

    async def CreateTeam(  # noqa: N802
        self, request: accountspb.CreateTeamRequest, context: CallContext
    ) -> accountspb.CreateTeamResponse:
        """Record a team."""
        work = self._accounts.create(TEAM, request.actor, request.team)
        return accountspb.CreateTeamResponse(team=await self._calls.answer(context, work))

    async def GetTeam(  # noqa: N802
        self, request: accountspb.GetTeamRequest, context: CallContext
    ) -> accountspb.GetTeamResponse:
        """Show a team."""
        return accountspb.GetTeamResponse(
            team=await self._calls.answer(context, self._accounts.get(TEAM, request.tenant, request.team))
        )

    async def ListTeams(  # noqa: N802
        self, request: accountspb.ListTeamsRequest, context: CallContext
    ) -> accountspb.ListTeamsResponse:
        """Return a page of the teams."""
        work = self._accounts.list(TEAM, request.page_size, request.page_token, {"tenant": request.tenant})
        page = await self._calls.answer(context, work)
        return accountspb.ListTeamsResponse(teams=page.items, next_page_token=page.next_token)

    async def UpdateTeam(  # noqa: N802
        self, request: accountspb.UpdateTeamRequest, context: CallContext
    ) -> accountspb.UpdateTeamResponse:
        """Change a team."""
        work = self._accounts.update(TEAM, request.actor, request.team, request.mask.paths)
        return accountspb.UpdateTeamResponse(team=await self._calls.answer(context, work))

    async def DisableTeam(  # noqa: N802
        self, request: accountspb.DisableTeamRequest, context: CallContext
    ) -> accountspb.DisableTeamResponse:
        """Disable a team, or enable it again."""
        work = self._accounts.set_disabled(
            TEAM, request.actor, request.tenant, request.team, disabled=not request.enable
        )
        return accountspb.DisableTeamResponse(team=await self._calls.answer(context, work))

    async def CreateUser(  # noqa: N802
        self, request: accountspb.CreateUserRequest, context: CallContext
    ) -> accountspb.CreateUserResponse:
        """Record a user."""
        work = self._accounts.create(USER, request.actor, request.user)
        return accountspb.CreateUserResponse(user=await self._calls.answer(context, work))

    async def GetUser(  # noqa: N802
        self, request: accountspb.GetUserRequest, context: CallContext
    ) -> accountspb.GetUserResponse:
        """Show a user."""
        return accountspb.GetUserResponse(
            user=await self._calls.answer(context, self._accounts.get(USER, request.tenant, request.user))
        )

    async def ListUsers(  # noqa: N802
        self, request: accountspb.ListUsersRequest, context: CallContext
    ) -> accountspb.ListUsersResponse:
        """Return a page of the users."""
        work = self._accounts.list(USER, request.page_size, request.page_token, {"tenant": request.tenant})
        page = await self._calls.answer(context, work)
        return accountspb.ListUsersResponse(users=page.items, next_page_token=page.next_token)

    async def UpdateUser(  # noqa: N802
        self, request: accountspb.UpdateUserRequest, context: CallContext
    ) -> accountspb.UpdateUserResponse:
        """Change a user."""
        work = self._accounts.update(USER, request.actor, request.user, request.mask.paths)
        return accountspb.UpdateUserResponse(user=await self._calls.answer(context, work))

    async def DisableUser(  # noqa: N802
        self, request: accountspb.DisableUserRequest, context: CallContext
    ) -> accountspb.DisableUserResponse:
        """Disable a user, or enable it again."""
        work = self._accounts.set_disabled(
            USER, request.actor, request.tenant, request.user, disabled=not request.enable
        )
        return accountspb.DisableUserResponse(user=await self._calls.answer(context, work))

    async def CreateKey(  # noqa: N802
        self, request: accountspb.CreateKeyRequest, context: CallContext
    ) -> accountspb.CreateKeyResponse:
        """Make a key."""
        made = await self._calls.answer(context, self._keys.create(request.actor, request.key))
        return accountspb.CreateKeyResponse(key=made.key, secret_key=made.secret_key)

    async def GetKey(  # noqa: N802
        self, request: accountspb.GetKeyRequest, context: CallContext
    ) -> accountspb.GetKeyResponse:
        """Show a key."""
        work = self._accounts.get(KEY, request.key_id)
        return accountspb.GetKeyResponse(key=await self._calls.answer(context, work))

    async def ListKeys(  # noqa: N802
        self, request: accountspb.ListKeysRequest, context: CallContext
    ) -> accountspb.ListKeysResponse:
        """Return a page of the keys."""
        work = self._accounts.list(
            KEY, request.page_size, request.page_token, {"tenant": request.tenant, "user": request.user}
        )
        page = await self._calls.answer(context, work)
        return accountspb.ListKeysResponse(keys=page.items, next_page_token=page.next_token)

    async def UpdateKey(  # noqa: N802
        self, request: accountspb.UpdateKeyRequest, context: CallContext
    ) -> accountspb.UpdateKeyResponse:
        """Change a key."""
        work = self._accounts.update(KEY, request.actor, request.key, request.mask.paths)
        return accountspb.UpdateKeyResponse(key=await self._calls.answer(context, work))

    async def DisableKey(  # noqa: N802
        self, request: accountspb.DisableKeyRequest, context: CallContext
    ) -> accountspb.DisableKeyResponse:
        """Disable a key, or enable it again."""
        work = self._accounts.set_disabled(KEY, request.actor, request.key_id, disabled=not request.enable)
        return accountspb.DisableKeyResponse(key=await self._calls.answer(context, work))

    async def RotateKey(  # noqa: N802
        self, request: accountspb.RotateKeyRequest, context: CallContext
    ) -> accountspb.RotateKeyResponse:
        """Replace a key."""
        new, old = await self._calls.answer(context, self._keys.rotate(request.actor, request.key_id, request.grace))
        return accountspb.RotateKeyResponse(key=new.key, secret_key=new.secret_key, replaced=old)

    async def ImportKeys(  # noqa: N802
        self, request: accountspb.ImportKeysRequest, context: CallContext
    ) -> accountspb.ImportKeysResponse:
        """Take over keys with their hashes."""
        taken = await self._calls.answer(context, self._keys.take_over(request.actor, request.records))
        known = len(request.records) - taken.imported
        return accountspb.ImportKeysResponse(imported=taken.imported, known=known, differing=taken.differing)

    async def ListKeyChanges(  # noqa: N802
        self, request: accountspb.ListKeyChangesRequest, context: CallContext
    ) -> accountspb.ListKeyChangesResponse:
        """Tell an edge which keys changed."""
        return await self._calls.answer(context, self._keys.changes_since(request.since_revision, request.limit))

    async def ListAudit(  # noqa: N802
        self, request: accountspb.ListAuditRequest, context: CallContext
    ) -> accountspb.ListAuditResponse:
        """Return a page of the changes."""
        page = await self._calls.answer(context, self._accounts.audit(request))
        return accountspb.ListAuditResponse(entries=page.items, next_page_token=page.next_token)

    async def ListBudgets(  # noqa: N802
        self, request: accountspb.ListBudgetsRequest, context: CallContext
    ) -> accountspb.ListBudgetsResponse:
        """Return all budgets."""
        budgets = await self._calls.answer(context, self._budgets.list())
        return accountspb.ListBudgetsResponse(budgets=map(message_of, budgets))

    async def PutBudget(  # noqa: N802
        self, request: accountspb.PutBudgetRequest, context: CallContext
    ) -> accountspb.PutBudgetResponse:
        """Create or replace a budget."""
        budget = await self._calls.answer(context, self._put_budget(request))
        return accountspb.PutBudgetResponse(budget=message_of(budget))

    async def _put_budget(self, request: accountspb.PutBudgetRequest) -> Budget:
        budget = budget_in(request.budget)
        await self._budgets.put(request.actor, budget)
        return budget

    async def RemoveBudget(  # noqa: N802
        self, request: accountspb.RemoveBudgetRequest, context: CallContext
    ) -> accountspb.RemoveBudgetResponse:
        """Remove a budget."""
        await self._calls.answer(context, self._budgets.remove(request.actor, request.name))
        return accountspb.RemoveBudgetResponse()
