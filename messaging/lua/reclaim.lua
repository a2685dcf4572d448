-- KEYS: queue, dead, dropped. ARGV: group, consumer, count, lease in ms, attempts, dead letters kept, reason.
-- Takes over what nobody has a lease of any more, and buries what has been tried often enough; also without memory to
-- spare, as this is what makes room.
-- Returns {{position, attempt, fields}, ...}.
local taken = {}
local lapsed = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], '-', '+', ARGV[3])
for _, one in ipairs(lapsed) do
  local position, attempts = one[1], one[4]
  local entry = redis.call('XRANGE', KEYS[1], position, position)[1]
  if not entry then
    redis.call('XACK', KEYS[1], ARGV[1], position)
  elseif attempts >= tonumber(ARGV[5]) then
    bury(position, entry[2], attempts, ARGV[7], tonumber(ARGV[6]))
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, position)
    taken[#taken + 1] = {position, attempts + 1, entry[2]}
  end
end
-- Whoever asks again finds more where it was all buried.
return {#lapsed, taken}
