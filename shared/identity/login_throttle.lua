-- Throttle of attempts by the generic cell rate algorithm. Each key stores the time (ms) until which its past attempts count.
--
-- KEYS: the keys of one attempt. ARGV: operation, window_ms, then for each key its limit (attempts per window).
--   begin  counts an attempt under every key, or under none if one of them is at its limit -> ms to wait, or 0 if counted
--   return subtracts one attempt -> 0
--   clear  deletes the keys -> 0
-- A key expires when its past attempts no longer count.

local operation, window = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if operation == 'clear' then
  for i = 1, #KEYS do redis.call('DEL', KEYS[i]) end
  return 0
end

local ends, wait = {}, 0
for i = 1, #KEYS do
  local interval = math.floor(window / tonumber(ARGV[i + 2]))
  local counted = math.max(now, tonumber(redis.call('GET', KEYS[i]) or now))
  ends[i] = operation == 'begin' and counted + interval or counted - interval
  wait = math.max(wait, ends[i] - now - window)
end
if operation == 'begin' and wait > 0 then return wait end
for i = 1, #KEYS do
  if ends[i] > now then
    redis.call('SET', KEYS[i], string.format('%.0f', ends[i]), 'PX', ends[i] - now)
  else
    redis.call('DEL', KEYS[i])
  end
end
return 0
