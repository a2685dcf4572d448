-- KEYS: queue, known. ARGV: group, capacity, milliseconds that the id is remembered, digest, then the message's fields.
-- Returns {what, position}: 0 added, 1 it had been there, 2 the id is taken by something else, 3 the queue is full.
local known = redis.call('GET', KEYS[2])
if known then
  local position, digest = known:match('^(%S+) (%S+)$')
  if digest == ARGV[4] then return {1, position} end
  return {2, ''}
end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then return {3, ''} end
-- The group now: where memory is short later, consumers can still take what is there.
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM') end
local position = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 5))
redis.call('SET', KEYS[2], position .. ' ' .. ARGV[4], 'PX', ARGV[3])
return {0, position}
