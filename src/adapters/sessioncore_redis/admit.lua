-- ARGV: subject, generation, slot, stamp, "=" and a version (or nothing, for any),
-- at, lives for, how many slots are evicted, those slots, pieces of the record.
local ADMITTED, CONFLICT, STALE = 0, 1, 2
local LOOKED_AT = 8

local subject, generation, slot, stamp = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local version, at, lives_for = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local first_piece = 9 + tonumber(ARGV[8])

local head = head_of(generation)
if not head or subject_of(head) ~= subject then
  return STALE
end
local stands_at = string.sub(head, 7, 14)
if version ~= '' and version ~= '=' .. stands_at then
  return CONFLICT
end
-- The second is this very admission, repeated by the driver after its session
-- was deleted: it must not come back.
if redis.call('HEXISTS', KEYS[1], slot) == 1 or stands_at == stamp then
  return CONFLICT
end

local gone = {}
for i = 9, first_piece - 1 do
  gone[ARGV[i]] = true
end
for _, field in ipairs(redis.call('HRANDFIELD', KEYS[1], LOOKED_AT)) do
  if #field == SLOT_BYTES then
    local until_then = kept_until(redis.call('HGET', KEYS[1], field))
    if until_then and until_then < at then
      gone[field] = true
    end
  end
end

drop(gone)
redis.call('HSET', KEYS[1], HEAD, generation .. stamp .. string.sub(head, 15))
put_record(slot, first_piece)
live_on(lives_for)
return ADMITTED
