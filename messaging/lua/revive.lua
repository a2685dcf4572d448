-- KEYS: queue, dead. ARGV: capacity, position. Returns 1; 0 where there is no such dead letter; 3 the queue is full.
local entry = redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2])[1]
if not entry then return 0 end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 3 end
local fields = {}
for index = 1, #entry[2], 2 do
  if entry[2][index] ~= 'reason' and entry[2][index] ~= 'attempts' then
    fields[#fields + 1] = entry[2][index]
    fields[#fields + 1] = entry[2][index + 1]
  end
end
redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
