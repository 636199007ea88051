-- ARGV: generation, slot. Returns names and values in turn; nil without session.
local generation, slot = ARGV[1], ARGV[2]

if not head_of(generation) or redis.call('HEXISTS', KEYS[1], slot) == 0 then
  return nil
end
local data = {}
for _, name in ipairs(names_of_data(slot)) do
  data[#data + 1] = name
  data[#data + 1] = redis.call('HGET', KEYS[2], slot .. name)
end
return data
