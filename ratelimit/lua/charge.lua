-- Charges the limits of many requests in one step: for each request all of its charges, or none.
--
-- KEYS     the counters, each once.
-- ARGV[1]  JSON: [limits, requests].
--          limits: ["g", grain, spacing, capacity] | ["f", amount, period] | ["s", amount, period, resolution]
--                  | ["q", amount, start, end], the fields of ratelimit.algorithms (q: the period that holds now).
--          requests: per request a flat list of (key, limit, hits, enforced); key and limit count from 1.
-- Returns  whole numbers: now; then per request: admitted, and per charge admitted, remaining, retry_after,
--          reset_after. Only `now`, and nothing charged, if a quota's period does not hold it.
--
-- The steps are those of ratelimit/algorithms, line by line; a property test proves them equal. All numbers stay
-- below 2^52, where doubles are whole. Numbers become text by %.0f, as `..` keeps 14 digits only.

local floor, ceil, min, max, format = math.floor, math.ceil, math.min, math.max, string.format

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- A replica's clock may run ahead of ours when it takes over: counters are kept this much longer than they count.
local SPARE = 1000

local NEVER = -1
local CLOCK_SLACK = 60000000

-- Every step: (limit, state, hits) -> admitted, remaining, retry_after, reset_after, state. States are never changed
-- in place, as a refused request must find them as they were.
local step = {}

function step.g(limit, state, hits)
  local grain, spacing, capacity = limit[2], limit[3], limit[4]
  local used = 0
  if state[1] and state[1] >= now and (state[1] - now - CLOCK_SLACK) * grain <= capacity then
    used = (state[1] - now) * grain + min(state[2], grain)
  end
  local room = capacity - used
  local cost = (hits == 0 and 1 or hits) * spacing
  if cost > room and cost > 0 then
    local retry = cost <= capacity and ceil((cost - room) / grain) or NEVER
    return false, max(floor(room / spacing), 0), retry, ceil(used / grain), state
  end
  if hits ~= 0 then
    used = max(used + cost, 0)
    state = {now + floor(used / grain), used % grain}
  end
  return true, max(floor((capacity - used) / spacing), 0), 0, ceil(used / grain), state
end

local function count_in(amount, stop, span, state, hits)
  local count = 0
  if state[1] and state[1] > now and state[1] <= stop + 2 * span then
    count, stop = state[2], max(state[1], stop)
  end
  local wanted = hits == 0 and 1 or hits
  if wanted > 0 and count + wanted > amount then
    local retry = wanted <= amount and stop - now or NEVER
    return false, max(amount - count, 0), retry, count > 0 and stop - now or 0, state
  end
  if hits ~= 0 then
    count = max(count + hits, 0)
    state = {stop, count}
  end
  return true, max(amount - count, 0), 0, count > 0 and stop - now or 0, state
end

function step.f(limit, state, hits)
  local period = limit[3]
  return count_in(limit[2], now - now % period + period, period, state, hits)
end

function step.q(limit, state, hits)
  return count_in(limit[2], limit[4], limit[4] - limit[3], state, hits)
end

local function wait(log, used, amount, wanted)
  if wanted > amount then
    return NEVER
  end
  for index = #log - 1, 1, -2 do
    used = used - log[index + 1]
    if used + wanted <= amount then
      return log[index] - now
    end
  end
  return NEVER
end

local function give_back(log, hits)
  local rest = {}
  for index = 1, #log, 2 do
    local kept = max(log[index + 1] - hits, 0)
    hits = hits - (log[index + 1] - kept)
    if kept > 0 then
      rest[#rest + 1], rest[#rest + 2] = log[index], kept
    end
  end
  return rest
end

function step.s(limit, state, hits)
  local amount, period, resolution = limit[2], limit[3], limit[4]
  local leaves = now + resolution - 1
  leaves = leaves + period - leaves % resolution
  local log, used = {}, 0
  for index = 1, #state, 2 do
    if state[index] <= now then
      break
    end
    if state[index] <= leaves + period and state[index + 1] > 0 then
      log[#log + 1] = state[index]
      log[#log + 1] = state[index + 1]
      used = used + state[index + 1]
    end
  end
  local wanted = hits == 0 and 1 or hits
  if wanted > 0 and used + wanted > amount then
    return false, max(amount - used, 0), wait(log, used, amount, wanted), log[1] and log[1] - now or 0, state
  end
  if hits > 0 then
    if log[1] and log[1] >= leaves then
      log[2] = log[2] + hits
    else
      table.insert(log, 1, hits)
      table.insert(log, 1, leaves)
    end
  elseif hits < 0 then
    log = give_back(log, -hits)
  end
  if hits ~= 0 then
    used = max(used + hits, 0)
    state = log[1] and log or {now, 0}
  end
  return true, max(amount - used, 0), 0, log[1] and log[1] - now or 0, state
end

local batch = cjson.decode(ARGV[1])
local limits, requests = batch[1], batch[2]
for _, limit in ipairs(limits) do
  if limit[1] == 'q' and (now < limit[3] or now >= limit[4]) then
    return {now}
  end
end

-- A counter is text: its numbers, with a space between each two.
local function read(text)
  if not text then
    return {}
  end
  local first, second, rest = string.match(text, '^(%d+) (%d+)(.*)$')
  local state = {tonumber(first), tonumber(second)}
  if rest ~= '' then
    for number in string.gmatch(rest, '%d+') do
      state[#state + 1] = tonumber(number)
    end
  end
  return state
end

local function written_out(state)
  if #state == 2 then
    return format('%.0f %.0f', state[1], state[2])
  end
  local text = {}
  for index, number in ipairs(state) do
    text[index] = format('%.0f', number)
  end
  return table.concat(text, ' ')
end

local states, written = {}, {}
for index, text in ipairs(KEYS[1] and redis.call('MGET', unpack(KEYS)) or {}) do
  states[index] = read(text)
end

local reply = {now}
local size = 1

local function say(admitted, remaining, retry_after, reset_after)
  reply[size + 1], reply[size + 2] = admitted and 1 or 0, remaining
  reply[size + 3], reply[size + 4] = retry_after, reset_after
  size = size + 4
end

for _, request in ipairs(requests) do
  local verdict = size + 1
  local fresh, refused = {}, false
  size = verdict
  for at = 1, #request, 4 do
    local key, limit = request[at], limits[request[at + 1]]
    local admitted, remaining, retry_after, reset_after, state =
      step[limit[1]](limit, fresh[key] or states[key], request[at + 2])
    if admitted then
      fresh[key] = state
    elseif request[at + 3] then
      refused = true
    end
    say(admitted, remaining, retry_after, reset_after)
  end
  reply[verdict] = refused and 0 or 1
  if refused then
    -- What was admitted is not charged either, and reads as it stands.
    size = verdict
    for at = 1, #request, 4 do
      if reply[size + 1] == 1 then
        local limit = limits[request[at + 1]]
        local _, remaining, _, reset_after = step[limit[1]](limit, states[request[at]], 0)
        say(true, remaining, 0, reset_after)
      else
        size = size + 4
      end
    end
  else
    for key, state in pairs(fresh) do
      if state ~= states[key] then
        states[key], written[key] = state, true
      end
    end
  end
end

for key in pairs(written) do
  local state = states[key]
  redis.call('SET', KEYS[key], written_out(state), 'PX', ceil((state[1] - now) / 1000) + SPARE)
end

return reply
