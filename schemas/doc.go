// Package schemas is the contract with the platform: the events that go in and
// come out, their JSON Schemas, the codec between them and Kafka records, and
// the reference under which a shop's credentials are kept.
//
// # In
//
// [Decoder.Decode] reads a record in one of four forms and ends in exactly one
// of three ways: an [Input]; an [*Invalid], which is a dead letter; an
// [*Ignored], which is counted.
//
//	form        recognised by                                            id
//	structured  content-type application/cloudevents+json                member id
//	binary      any header that begins with ce_ (in upper or lower case)  header ce_id
//	plain       neither                                                  a header or member by setting, or none
//
// In each of them the JSON may stand behind the five bytes that a schema
// registry's serializer puts first. A structured event needs its content type:
// without it the value is read as plain data.
//
// What is checked, in this order, so that one fault always gets one reason:
// topic, tombstone, size, headers, specversion and type, JSON (syntax, UTF-8,
// repeated members, nesting), provider; and only for events that are ours id,
// source, time, shop id, subject, account, address or code. Events for another
// provider are nearly all of the traffic: they cost one to four microseconds, and
// what else is wrong with them is nobody's business. Unknown members and
// headers are ignored; null in an optional member, and an empty optional
// attribute, count as absent; a malformed trace context is dropped.
//
// An integer is a shop id or code by its exact digits. As JSON numbers 10 and
// 10.0 are the same, as ids only the first is accepted.
//
// # Out
//
// [Encode] writes an [Event] and [DecodeOutput] reads one, in binary or
// structured mode. The same event gives the same bytes. Encode refuses what the
// strict schemas refuse and more: an event whose credentials reference is not
// pinned, or is not of the event's own shop and account, cannot be written.
//
// A consumer of results keeps, per account and shop, the highest [Event.Sequence]
// that it has seen and drops what does not exceed it. In the record it is padded
// to 19 digits, so that it also sorts as text; readers take it without padding.
//
// # Ids
//
// [EventID], [OperationID], [RecordID] and [DeadLetterID] are version 5 UUIDs of
// what they name: done again after a crash, everything has the same name. Each
// part goes in with its length, so that no two names run together.
//
// # References
//
// A [Reference] has exactly one spelling. A shop id that is not plain becomes
// one path segment of base32, so no shop id can climb out of its folder or name
// another's.
//
// # Secrets
//
// Addresses and codes are [secret.String]; [Content] prints nothing. No error
// holds a value of an event: it names a reason of a closed set and a place made
// of names that the contract defines. A member's name that the contract does not
// define is a value too. The id of an event is shown; an id that holds a secret
// is the producer's mistake, which nobody can see from here.
//
// # What it does not do
//
// It keeps no state: duplicates, cool-downs and the identity of content are the
// inbox's business ([Identity] and [Content] are what it needs). It does not ask
// whether a mailbox exists. Other event formats of CloudEvents (Avro, Protobuf,
// batches) are refused. [NormalizeEmail] does not fold Unicode domains into
// their ASCII form: the two spellings are two addresses.
package schemas
