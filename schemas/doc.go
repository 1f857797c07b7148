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
//	form        recognised by                                                     id
//	structured  content-type application/cloudevents+json; or specversion and data   member id
//	            in the value
//	binary      any header that begins with ce_ (in upper or lower case); ce- or     header ce_id
//	            cloudEvents: where one of them is the specversion
//	plain       none of these                                                        a header or member by setting, or none
//
// In each of them the JSON may stand behind a byte order mark and behind the
// frame of a schema registry's serializer (Confluent, Apicurio, AWS Glue without
// compression). Header values may stand in quotes, as older versions of Spring
// write them.
//
// A form that can mean one thing only is read; any other gets a reason that names
// it. TestShapes holds the decision about each form. What is optional costs no
// event: a time of a common form that names no instant is left out
// ([Input.TimeDropped]), a malformed trace context is dropped, null in an optional
// member and an empty optional attribute count as absent, and the same header or
// member twice with the same value counts once.
//
// What is checked, in this order, so that one fault always gets one reason:
// topic, tombstone, size, headers, specversion and type, JSON (syntax, UTF-8,
// nesting, repeated members), provider; and only for events that are ours id,
// source, time, shop id, subject, account, address or code. Events for another
// provider are nearly all of the traffic: they cost one to four microseconds, and
// what else is wrong with them is nobody's business. Unknown members and headers
// are ignored, whatever stands in them as long as it can be told where they end.
// The provider's name is compared without case and surrounding space; one that is
// nearly ours is reported ([Ignored.NearMiss]).
//
// Control characters are refused in a shop id. Bidirectional and invisible ones
// are taken, since ids are compared byte for byte and some scripts need them:
// whoever shows an id escapes them.
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
// batches) are refused, and so is what the application compressed or encoded twice. [NormalizeEmail] does not fold Unicode domains into
// their ASCII form: the two spellings are two addresses.
package schemas
