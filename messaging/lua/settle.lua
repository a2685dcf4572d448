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
  bury(ARGV[3], entry[2], mine[4], ARGV[6], tonumber(ARGV[5]))
end
return 1
