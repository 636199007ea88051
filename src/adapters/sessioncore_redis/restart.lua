-- ARGV: subject, old generation, old slot, old stamp, new generation, new slot,
-- new stamp, lives for, pieces of the new record.
-- Returns the generation under which the new record is stored; nil if the old
-- one is changed or gone; -1 if another subject is here.
local subject, old_generation, old_slot, old_stamp = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local new_generation, new_slot, new_stamp, lives_for = ARGV[5], ARGV[6], ARGV[7], ARGV[8]

local head = redis.call('HGET', KEYS[1], HEAD)
if not head then
  return nil
end
if subject_of(head) ~= subject then
  return -1
end
local generation = string.sub(head, 1, 6)
if generation ~= old_generation then
  -- Ended before; by this very call, if its record is here.
  if stamp_of(redis.call('HGET', KEYS[1], new_slot)) == new_stamp then
    return generation
  end
  return nil
end
if stamp_of(redis.call('HGET', KEYS[1], old_slot)) ~= old_stamp then
  return nil
end

local addition = redis.call('HGET', KEYS[1], old_slot .. ADDITION)
local data = {}
for _, name in ipairs(names_of_data(old_slot)) do
  data[name] = redis.call('HGET', KEYS[2], old_slot .. name)
end
local old_fields, old_data = redis.call('HKEYS', KEYS[1]), redis.call('HKEYS', KEYS[2])
for _, field in ipairs(old_fields) do
  if field ~= HEAD then
    redis.call('HDEL', KEYS[1], field)
  end
end
put_epoch(new_generation, new_stamp, string.sub(head, 15, 20), subject)
put_record(new_slot, 9)
if addition then
  redis.call('HSET', KEYS[1], new_slot .. ADDITION, addition)
end
for name, value in pairs(data) do
  redis.call('HSET', KEYS[2], new_slot .. name, value)
end
for _, field in ipairs(old_data) do
  if string.sub(field, 1, SLOT_BYTES) ~= new_slot then
    redis.call('HDEL', KEYS[2], field)
  end
end
live_on(lives_for)
return new_generation
