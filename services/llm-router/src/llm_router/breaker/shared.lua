-- Decides the breakers of targets for all routers. The rules are those of state.py and window.py.
--
-- KEYS: for each update, in order, the state, the outcomes and the lease of the probe of its target.
-- ARGV: the updates and the rules as JSON, and the factor by which this call lengthens rests.
-- Returns for each update: epoch, is_open, reason, backoff_ms, rest_ms, attempts, failures, is_own, is_leased.
--
-- A state has a number, its epoch. An update that was made in another state than the present one changes nothing, so
-- that of several routers that see the same failures one opens the breaker. All times are those of Redis.

local updates, rules, jitter = cjson.decode(ARGV[1]), cjson.decode(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local bucket = math.floor(now / rules.bucket_ms)

local function read(key)
  local known = redis.call('HMGET', key, 'epoch', 'is_open', 'reason', 'backoff_ms', 'until_ms')
  local state = {
    epoch = tonumber(known[1] or 0),
    is_open = known[2] == '1',
    reason = known[3] or '',
    backoff_ms = tonumber(known[4] or 0),
    until_ms = tonumber(known[5] or now),
  }
  -- No rest is this long: the clock of Redis has gone back.
  if state.until_ms - now > rules.max_rest_ms then state.until_ms = now end
  return state
end

local function enter(keys, state, epoch)
  state.epoch = epoch
  redis.call('HSET', keys.state, 'epoch', epoch, 'is_open', state.is_open and 1 or 0, 'reason', state.reason,
             'backoff_ms', state.backoff_ms, 'until_ms', state.until_ms)
  redis.call('PEXPIRE', keys.state, math.max(state.until_ms - now, 0) + rules.keep_ms)
  redis.call('DEL', keys.outcomes)
end

local function count(keys, update)
  if update.attempts == 0 then return end
  redis.call('HINCRBY', keys.outcomes, 'a' .. bucket, update.attempts)
  redis.call('HINCRBY', keys.outcomes, 'f' .. bucket, update.failures)
  redis.call('PEXPIRE', keys.outcomes, rules.bucket_ms * rules.buckets)
end

local function totals(keys)
  local attempts, failures = 0, 0
  local outcomes = redis.call('HGETALL', keys.outcomes)
  for i = 1, #outcomes, 2 do
    if tonumber(string.sub(outcomes[i], 2)) <= bucket - rules.buckets then
      redis.call('HDEL', keys.outcomes, outcomes[i])
    elseif string.sub(outcomes[i], 1, 1) == 'a' then
      attempts = attempts + outcomes[i + 1]
    else
      failures = failures + outcomes[i + 1]
    end
  end
  return attempts, failures
end

local function exceeds_threshold(keys)
  local attempts, failures = totals(keys)
  return attempts >= rules.min_attempts and failures >= attempts * rules.failure_ratio
end

local function opened(state, failure)
  local doubled = (state.is_open or state.until_ms > now) and 2 * state.backoff_ms or 0
  local longest = failure.max_backoff_ms
  local backoff = math.min(math.max(doubled, failure.min_backoff_ms), longest)
  local rest = math.max(math.min(backoff * jitter, longest), math.min(failure.rest_ms * jitter, rules.max_rest_ms))
  return {is_open = true, reason = failure.reason, backoff_ms = backoff, until_ms = now + math.floor(rest)}
end

local function closed(state)
  return {is_open = false, reason = '', backoff_ms = state.backoff_ms, until_ms = now + rules.flapping_ms}
end

local function restored(restore)
  return {is_open = restore.is_open, reason = restore.reason, backoff_ms = restore.backoff_ms,
          until_ms = now + restore.rest_ms}
end

-- Returns the state after the update, and whether the update brought it about.
local function decide(keys, state, update)
  local following
  if update.restore and update.epoch >= state.epoch then
    following = restored(update.restore)
  elseif update.epoch ~= state.epoch then
    return state, false
  elseif update.is_healthy and state.is_open then
    following = closed(state)
  elseif update.failure then
    following = opened(state, update.failure)
  else
    count(keys, update)
    if state.is_open or not exceeds_threshold(keys) then return state, false end
    following = opened(state, rules.too_many_failures)
  end
  enter(keys, following, update.epoch + 1)
  -- What came with a closing, or with the state that is restored, is part of the new window.
  if not following.is_open then count(keys, update) end
  return following, true
end

-- Grants, releases and renews; returns whether the lease was granted. It is granted only in the present state with its
-- rest over: a router that has not heard that a probe just failed must not probe again.
local function lease(keys, state, update)
  local is_leased = false
  if update.acquire and update.epoch == state.epoch and state.until_ms <= now then
    is_leased = redis.call('SET', keys.probe, update.acquire, 'NX', 'PX', rules.lease_ms) and true
  end
  for _, token in ipairs(update.release or {}) do
    if redis.call('GET', keys.probe) == token then redis.call('DEL', keys.probe) end
  end
  if update.renew and not redis.call('SET', keys.probe, update.renew, 'NX', 'PX', rules.lease_ms)
     and redis.call('GET', keys.probe) == update.renew then
    redis.call('PEXPIRE', keys.probe, rules.lease_ms)
  end
  return is_leased
end

local replies = {}
for i, update in ipairs(updates) do
  local keys = {state = KEYS[3 * i - 2], outcomes = KEYS[3 * i - 1], probe = KEYS[3 * i]}
  local state, is_own = decide(keys, read(keys.state), update)
  local is_leased = lease(keys, state, update)
  local attempts, failures = totals(keys)
  replies[i] = {state.epoch, state.is_open and 1 or 0, state.reason, state.backoff_ms, state.until_ms - now,
                attempts, failures, is_own and 1 or 0, is_leased and 1 or 0}
end
return replies
