#!lua flags=allow-oom
-- Ahead of reclaim and settle, which have the same KEYS (queue, dead, dropped) and the group as ARGV[1].
-- A message becomes a dead letter; of these the oldest goes, and is counted, where `most` are kept.
local function bury(position, fields, attempts, reason, most)
  fields[#fields + 1] = 'reason'
  fields[#fields + 1] = reason
  fields[#fields + 1] = 'attempts'
  fields[#fields + 1] = attempts
  while redis.call('XLEN', KEYS[2]) >= most do
    redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', most - 1)
    redis.call('INCR', KEYS[3])
  end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
  redis.call('XACK', KEYS[1], ARGV[1], position)
  redis.call('XDEL', KEYS[1], position)
end
