-- ARGV: generation, slot. Returns names and values in turn; nil without session.
local generation, slot = ARGV[1], ARGV[2]

if not head_of(generation) or redis.call('HEXISTS', KEYS[1], slot) == 0 then
  return nil
end
return data_of(slot)
