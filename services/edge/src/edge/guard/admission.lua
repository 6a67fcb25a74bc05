-- Decides in one round trip whether a request may run. Only behind a yes are the admitted event recorded and the
-- response cache asked.
--
-- KEYS  1: the stream of cost events; 2: where the answer is looked up; then the keys of the slots, in order
-- ARGV  1: the admitted event; 2: "1" when KEYS[2] is to be read; then for each slot its name, how many keys and how
--       many arguments it has, and the arguments
--
-- Returns {0, number of the slot that refuses from 1, what it says...} or {1, the stored answer or false}.

local slots = {}

-- Refuses once a published figure has reached its limit. Keys: where the figure may be; argument: the limit; says: the
-- figure.
function slots.ceiling(keys, arguments)
  for _, key in ipairs(keys) do
    local figure = redis.call('GET', key)
    if figure and tonumber(figure) >= tonumber(arguments[1]) then
      return {figure}
    end
  end
end

local function take(list, first, count)
  local taken = {}
  for index = first, first + count - 1 do
    taken[#taken + 1] = list[index]
  end
  return taken
end

local key, argument, number = 3, 3, 0
while argument <= #ARGV do
  number = number + 1
  local slot, keys, arguments = slots[ARGV[argument]], tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
  local refusal = slot(take(KEYS, key, keys), take(ARGV, argument + 3, arguments))
  if refusal then
    return {0, number, unpack(refusal)}
  end
  key, argument = key + keys, argument + 3 + arguments
end

redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])
return {1, ARGV[2] == '1' and redis.call('GET', KEYS[2])}
