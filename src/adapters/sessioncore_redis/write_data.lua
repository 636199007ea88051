-- ARGV: generation, slot, stamp, capacity, then three counted lists: guards
-- (name, stamp or empty for absent), removed names, and puts (name, value).
-- A stored value is its stamp (8 bytes) and the text.
local WRITTEN, CONFLICT, FULL, GONE = 0, 1, 2, 3

local generation, slot, stamp, capacity = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local at = 5

local function next_list(width)
  local list = {}
  for item = 1, tonumber(ARGV[at]) do
    list[item] = {ARGV[at + 1 + (item - 1) * width], ARGV[at + item * width]}
  end
  at = at + 1 + #list * width
  return list
end

local guards, removed, puts = next_list(2), next_list(1), next_list(2)

if not head_of(generation) or redis.call('HEXISTS', KEYS[1], slot) == 0 then
  return GONE
end

local stamps, sizes, taken = {}, {}, 0
for _, name in ipairs(names_of_data(slot)) do
  local stored = redis.call('HGET', KEYS[2], slot .. name)
  stamps[name] = string.sub(stored, 1, 8)
  sizes[name] = #name + #stored - 8
  taken = taken + sizes[name]
end

local repeated = #puts > 0
for _, put in ipairs(puts) do
  repeated = repeated and stamps[put[1]] == stamp
end
if repeated then
  return WRITTEN
end

for _, guard in ipairs(guards) do
  if (stamps[guard[1]] or '') ~= guard[2] then
    return CONFLICT
  end
end

local needed = taken
for _, remove in ipairs(removed) do
  needed = needed - (sizes[remove[1]] or 0)
end
for _, put in ipairs(puts) do
  needed = needed - (sizes[put[1]] or 0) + #put[1] + #put[2]
end
if needed > capacity and needed > taken then
  return FULL
end

for _, put in ipairs(puts) do
  redis.call('HSET', KEYS[2], slot .. put[1], stamp .. put[2])
end
for _, remove in ipairs(removed) do
  redis.call('HDEL', KEYS[2], slot .. remove[1])
end
local lives_for = redis.call('PTTL', KEYS[1])
if lives_for > 0 then
  redis.pcall('PEXPIRE', KEYS[2], lives_for)
end
return WRITTEN
