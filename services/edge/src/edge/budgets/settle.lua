-- Charges what a request has cost in place of what was reserved for it. KEYS 1: the figure; 2: its leases; ARGV 1: the
-- request; 2: the cost in nano-USD; 3: for how many milliseconds it stays unless the ledger has counted it before; 4: for
-- how many milliseconds the figure is kept.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local reserved, cost = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0), tonumber(ARGV[2])
if cost == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[1])
end
if cost ~= reserved then
  redis.call('HINCRBY', KEYS[1], 'pending', string.format('%.0f', cost - reserved))
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
