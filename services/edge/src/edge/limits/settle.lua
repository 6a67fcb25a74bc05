-- Corrects what a request has added to a window. KEYS 1: the window; ARGV 1: the number of the part it was added to; 2:
-- what is to be added; 3: the width of a part in milliseconds. What has left the window needs no correction; what was
-- too little then counts from now.
local state = redis.call('HMGET', KEYS[1], 't', 'f')
local part, delta = tonumber(ARGV[1]), tonumber(ARGV[2])
if state[2] and part < tonumber(state[2]) then
  if delta <= 0 then
    return
  end
  local time = redis.call('TIME')
  part = math.floor((tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000) / tonumber(ARGV[3]))
elseif not state[2] and delta <= 0 then
  return
end
redis.call('HINCRBY', KEYS[1], part, delta)
redis.call('HINCRBY', KEYS[1], 't', delta)
redis.call('HSETNX', KEYS[1], 'f', part)
redis.call('PEXPIRE', KEYS[1], math.ceil(122 * tonumber(ARGV[3])))
