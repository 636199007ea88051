-- ARGV: generation, slot. Returns what HMGET says of the epoch and the record, and
-- names and values of the data in turn; nil without session.
local generation, slot = ARGV[1], ARGV[2]

local fields = {HEAD, unpack(SUBJECT_PIECES)}
for _, suffix in ipairs(RECORD_PIECES) do
  fields[#fields + 1] = slot .. suffix
end
local found = redis.call('HMGET', KEYS[1], unpack(fields))
local head, record = found[1], found[#SUBJECT_PIECES + 2]
if not (head and record) or string.sub(head, 1, 6) ~= generation then
  return nil
end
return {found, data_of(slot)}
