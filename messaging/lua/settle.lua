#!lua flags=allow-oom
-- KEYS: queue, dead, dropped. ARGV: group, consumer, position, what, and for `bury` dead letters kept and the reason;
-- for `release` the lease in ms. Only who has the message may do it. Returns 1, or 0 where it is another's or gone.
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])[1]
if not mine then return 0 end
if ARGV[4] == 'renew' then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'JUSTID')
elseif ARGV[4] == 'release' then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[5], 'JUSTID')
else
  local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
  if not entry then return 0 end
  local fields = entry[2]
  fields[#fields + 1] = 'reason'
  fields[#fields + 1] = ARGV[6]
  fields[#fields + 1] = 'attempts'
  fields[#fields + 1] = mine[4]
  while redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[5]) do
    redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', tonumber(ARGV[5]) - 1)
    redis.call('INCR', KEYS[3])
  end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  redis.call('XDEL', KEYS[1], ARGV[3])
end
return 1
