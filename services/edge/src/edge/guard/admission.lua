-- Decides in one round trip whether a request may run. Only behind a yes of all slots is anything counted, the admitted
-- event recorded and the response cache asked.
--
-- KEYS  then the keys of the slots, in order; and, if there is an event, before them 1: the stream of cost events; 2:
--       where the answer is looked up
-- ARGV  1: the admitted event; empty: there is none; 2: "1" when KEYS[2] is to be read; then for each slot its name, how
--       many keys and how many arguments it has, and the arguments
--
-- Returns {0, number of the slot that refuses from 1, what it says...} or {1, the stored answer or false, then for each
-- slot what it says}.

-- A window is counted in this many parts. What counts is at least the window and at most one part more: what is allowed
-- in a window is never exceeded, and what is let through is at most 1/120 less.
local PARTS = 120

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local slots = {}

-- What is spent of a budget, as the ledger has published it and requests that it may lack have reserved or cost. Keys:
-- the figure, its leases; arguments: the amount in nano-USD at which requests are refused (-1: none), what this one is
-- expected to cost, the request, for how many milliseconds it counts unless that is renewed, for how many the figure is
-- kept, and what was spent before Redis lost everything, for as long as the ledger has published nothing. Says what was
-- spent before this one, and admitted whether the ledger has published anything.
function slots.budget(keys, arguments)
  local key, leases = keys[1], keys[2]
  local gone = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1000)
  if #gone > 0 then
    local amount = 0
    for _, found in ipairs(redis.call('HMGET', key, unpack(gone))) do
      amount = amount + (tonumber(found) or 0)
    end
    redis.call('HDEL', key, unpack(gone))
    redis.call('ZREM', leases, unpack(gone))
    redis.call('HINCRBY', key, 'pending', string.format('%.0f', -amount))
  end
  local figure = redis.call('HMGET', key, 'ledger', 'pending')
  local spent = (tonumber(figure[1]) or 0) + (tonumber(figure[2]) or 0)
  if not figure[1] then
    spent = spent + tonumber(arguments[6])
  end
  local stop, expected, member = tonumber(arguments[1]), tonumber(arguments[2]), arguments[3]
  if stop >= 0 and (spent >= stop or spent + expected > stop) then
    return {spent}
  end
  return nil, function()
    if expected > 0 and redis.call('HSETNX', key, member, arguments[2]) == 1 then
      redis.call('HINCRBY', key, 'pending', arguments[2])
      redis.call('ZADD', leases, now + tonumber(arguments[4]), member)
      redis.call('PEXPIRE', key, arguments[5])
      redis.call('PEXPIRE', leases, arguments[5])
    end
    return {spent, figure[1] and 1 or 0}
  end
end

-- What a window has in it. `f` is its first part, `t` the sum; the other fields are the parts, by number.
local function sum_of(key, part)
  local state = redis.call('HMGET', key, 't', 'f')
  local total, first, oldest = tonumber(state[1]), tonumber(state[2]), part - PARTS
  if not first then
    return 0, part
  end
  if first >= oldest then
    return total, first
  end
  local gone = {}
  for number = first, math.min(oldest - 1, first + 3 * PARTS) do
    gone[#gone + 1] = number
  end
  for _, amount in ipairs(redis.call('HMGET', key, unpack(gone))) do
    total = total - (tonumber(amount) or 0)
  end
  redis.call('HDEL', key, unpack(gone))
  redis.call('HSET', key, 't', total, 'f', oldest)
  return total, oldest
end

-- In how many milliseconds so much will have left the window; -1: it never had so much in it.
local function wait_for(key, first, part, width, amount)
  local numbers = {}
  for number = first, part do
    numbers[#numbers + 1] = number
  end
  for index, found in ipairs(redis.call('HMGET', key, unpack(numbers))) do
    amount = amount - (tonumber(found) or 0)
    if amount <= 0 then
      return (numbers[index] + PARTS + 1) * width - now
    end
  end
  return -1
end

-- At most so much in a window of so many milliseconds. Arguments: the limit, what this request adds, the window, "1" if
-- it only looks. Refusing it says what is left and in how many milliseconds there is enough (-1: never); else what is
-- left, the number of the part it was added to, in how many milliseconds all is free again, and whether it would have
-- refused.
function slots.window(keys, arguments)
  local key, limit, cost = keys[1], tonumber(arguments[1]), tonumber(arguments[2])
  local width = tonumber(arguments[3]) / PARTS
  local part = math.floor(now / width)
  local total, first = sum_of(key, part)
  if total + cost > limit then
    if arguments[4] == '1' then
      return nil, function() return {0, -1, 0, 1} end
    end
    return {math.max(0, limit - total), wait_for(key, first, part, width, total + cost - limit)}
  end
  return nil, function()
    redis.call('HINCRBY', key, part, cost)
    redis.call('HINCRBY', key, 't', cost)
    redis.call('HSETNX', key, 'f', part)
    redis.call('PEXPIRE', key, math.ceil((PARTS + 2) * width))
    return {limit - total - cost, part, (part + PARTS + 1) * width - now, 0}
  end
end

-- At most so many at once. Arguments: the limit, the member, for how many milliseconds it counts unless it is renewed,
-- "1" if it only looks. Refusing it says what is left and when to come again; else what is left, whether it counts, 0,
-- and whether it would have refused.
function slots.lease(keys, arguments)
  local key, limit = keys[1], tonumber(arguments[1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local count = redis.call('ZCARD', key)
  if count >= limit then
    if arguments[4] == '1' then
      return nil, function() return {0, -1, 0, 1} end
    end
    return {0, 1000}
  end
  return nil, function()
    redis.call('ZADD', key, now + tonumber(arguments[3]), arguments[2])
    redis.call('PEXPIRE', key, arguments[3])
    return {limit - count - 1, 1, 0, 0}
  end
end

local function take(list, first, count)
  local taken = {}
  for index = first, first + count - 1 do
    taken[#taken + 1] = list[index]
  end
  return taken
end

local has_event = ARGV[1] ~= ''
local key, argument, number = has_event and 3 or 1, 3, 0
local commits = {}
while argument <= #ARGV do
  number = number + 1
  local slot, keys, arguments = slots[ARGV[argument]], tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
  local refusal, commit = slot(take(KEYS, key, keys), take(ARGV, argument + 3, arguments))
  if refusal then
    return {0, number, unpack(refusal)}
  end
  commits[number] = commit
  key, argument = key + keys, argument + 3 + arguments
end

local reply = {1, false}
for index, commit in ipairs(commits) do
  reply[index + 2] = commit()
end
if has_event then
  redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])
  reply[2] = ARGV[2] == '1' and redis.call('GET', KEYS[2])
end
return reply
