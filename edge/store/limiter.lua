-- Rate limits for a batch of calls: requests per minute, tokens per minute, concurrent requests. Atomic per call.
--
-- ARGV is a sequence of operations. KEYS has, for each scope of each operation, its bucket (hash) and its leases (sorted set):
--   take  "t" call lease_ms tokens wanted scopes, then for each scope: rpm tpm concurrency
--         -> {0, ..., more, leased, slots} or {1|2|3, wait_ms, limit, ...}
--   give  "g" calls, then as many ids of calls; requests tokens scopes, then for each scope: rpm tpm   -> {0}
-- The dots stand for limit_requests, remaining_requests, limit_tokens, remaining_tokens of the tightest (or the exceeded) scope.
-- `more` is how many further calls of this size all scopes would accept now.
-- `leased` is how many further calls of this size were charged in advance, at most `wanted`.
-- `slots` is how many slots of finished calls the caller may keep for the next ones.
-- The first number says which limit was exceeded: 1 requests, 2 tokens, 3 concurrent requests. Then no scope is charged.

local WINDOW = 60000
local MAX_RETRY = 60000
-- Nothing is leased of a scope of which less than half is left. A lease is at most what the scope's buckets refill in 0.5 s.
local RESERVE = 0.5
local MAX_LEASED = 500 / WINDOW
local MIN_LEASED = 8
local MAX_SLOTS = 1 / 16
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local arg, key = 1, 1

local function next_arg() arg = arg + 1; return ARGV[arg - 1] end

local function level(value, at, limit)
  if not value then return limit end
  return math.min(limit, tonumber(value) + math.max(0, now - tonumber(at)) * limit / WINDOW)
end

local function wait(have, limit, need)
  local missing = math.min(need, limit) - have
  return math.max(1, math.min(MAX_RETRY, math.ceil(missing * WINDOW / limit)))
end

local function store(bucket, requests, tokens)
  redis.call('HSET', bucket, 'r', string.format('%.3f', requests), 't', string.format('%.3f', tokens), 'at', now)
  redis.call('PEXPIRE', bucket, WINDOW * 2)
end

local function take()
  local call, lease, tokens = next_arg(), tonumber(next_arg()), tonumber(next_arg())
  local leased, scopes = tonumber(next_arg()), tonumber(next_arg())
  local size = math.max(tokens, 1)
  local found, refused, more, slots = {}, nil, math.huge, math.huge
  for i = 1, scopes do
    local rpm, tpm, concurrency = tonumber(next_arg()), tonumber(next_arg()), tonumber(next_arg())
    local bucket, leases = KEYS[key], KEYS[key + 1]
    key = key + 2
    local held = redis.call('HMGET', bucket, 'r', 't', 'at')
    local r, t = level(held[1], held[3], rpm), level(held[2], held[3], tpm)
    redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
    local running = redis.call('ZCARD', leases)
    local short, pause, limit
    if r < 1 then short, pause, limit = 1, wait(r, rpm, 1), rpm
    elseif t < math.min(tokens, tpm) then short, pause, limit = 2, wait(t, tpm, tokens), tpm
    elseif running >= concurrency then short, pause, limit = 3, 1000, concurrency end
    if short then
      refused = refused or {short, pause, limit, rpm, math.floor(r), tpm, math.max(0, math.floor(t))}
    end
    found[i] = {bucket, leases, r - 1, t - tokens, rpm, tpm}
    more = math.min(more, r - 1, (t - tokens) / size, concurrency - running - 1)
    slots = running < concurrency * RESERVE and math.min(slots, concurrency * MAX_SLOTS) or 0
    leased = math.min(leased, rpm * MAX_LEASED, tpm * MAX_LEASED / size, r - rpm * RESERVE, (t - tpm * RESERVE) / size)
  end
  if refused then return refused end
  leased = math.floor(leased)
  if leased < MIN_LEASED or slots < 1 then leased = 0 end
  local answer
  for i = 1, scopes do
    local s = found[i]
    s[3], s[4] = s[3] - leased, s[4] - leased * tokens
    store(s[1], s[3], s[4])
    redis.call('ZADD', s[2], now + lease, call)
    redis.call('PEXPIRE', s[2], lease)
    if not answer or s[3] < answer[3] then
      answer = {0, s[5], math.floor(s[3]), s[6], math.max(0, math.floor(s[4]))}
    end
  end
  answer[6], answer[7], answer[8] = math.max(0, math.floor(more) - leased), leased, math.floor(slots)
  return answer
end

local function give()
  local calls = {}
  for i = 1, tonumber(next_arg()) do calls[i] = next_arg() end
  local requests, tokens, scopes = tonumber(next_arg()), tonumber(next_arg()), tonumber(next_arg())
  for i = 1, scopes do
    local rpm, tpm = tonumber(next_arg()), tonumber(next_arg())
    local bucket, leases = KEYS[key], KEYS[key + 1]
    key = key + 2
    for _, call in ipairs(calls) do redis.call('ZREM', leases, call) end
    if requests ~= 0 or tokens ~= 0 then
      -- Only adds what was taken and not used; the next take refills the bucket.
      local held = redis.call('HMGET', bucket, 'r', 't')
      if held[1] then
        local r, t = math.min(rpm, tonumber(held[1]) + requests), math.min(tpm, tonumber(held[2]) + tokens)
        redis.call('HSET', bucket, 'r', string.format('%.3f', r), 't', string.format('%.3f', t))
      end
    end
  end
  return {0}
end

local answers = {}
while arg <= #ARGV do
  if next_arg() == 't' then answers[#answers + 1] = take() else answers[#answers + 1] = give() end
end
return answers
