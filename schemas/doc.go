// Package schemas is the contract with the platform: the events that go in and
// come out, their JSON Schemas, the codec between them and Kafka records, and
// the reference under which a shop's credentials are kept.
//
// # In
//
// [Decoder.Decode] reads a record in one of three forms and ends in exactly one
// of three ways: an [Input]; an [*Invalid], which is a dead letter; an
// [*Ignored], which is counted.
//
//	form        recognized by                                          id
//	structured  content-type application/cloudevents+json; or          member id
//	            specversion and data in the value
//	binary      a header that begins with ce_ (any case); ce- or       header ce_id
//	            cloudEvents: if one of them is the specversion
//	plain       none of these                                          a header or member by setting, or none
//
// The JSON may follow a byte order mark and the frame of a schema registry's
// serializer (Confluent, Apicurio, AWS Glue without compression). Header values may be
// quoted, as older versions of Spring write them. A form that can mean one thing only is
// read; every other form gets a reason that names it. TestShapes has the decision for
// each form.
//
// The checks have a fixed order, so that one fault always gets one reason: topic,
// tombstone, size, headers, specversion and type, JSON (syntax, UTF-8, nesting, repeated
// members), provider; and only for events of this service id, source, time, shop id,
// subject, account, address or code. Events for another provider are nearly all of the
// traffic and cost one to four microseconds; nothing else is checked in them. Unknown
// members and headers are ignored.
//
// Optional parts cost no event: a time that names no instant is left out
// ([Input.TimeDropped]), a malformed trace context is dropped, null in an optional member
// counts as absent, and the same header or member twice with the same value counts once.
//
// Control characters are refused in a shop id. Bidirectional and invisible ones are
// accepted, because some scripts need them; whoever shows an id escapes them. An integer is
// a shop id or code by its exact digits: 10.0 is not accepted.
//
// # Out
//
// [Encode] writes an [Event] and [DecodeOutput] reads one, in binary or
// structured mode. The same event gives the same bytes. Encode refuses what the
// strict schemas refuse and more: an event whose credentials reference is not
// pinned, or is not of the event's own shop and account, cannot be written.
//
// A consumer of results stores, per account and shop, the highest [Event.Sequence] that it
// has seen and ignores what does not exceed it. In the record it is padded to 19 digits,
// so that it also sorts as text.
//
// # Ids and references
//
// [EventID], [OperationID], [RecordID] and [DeadLetterID] are version 5 UUIDs of what they
// name, so that the same work after a crash has the same names. Each part goes in with its
// length. A [Reference] has exactly one spelling; a shop id that is not plain becomes one
// path segment of base32, so no shop id can name another's path.
//
// # Secrets
//
// Addresses and codes are [secret.String]; [Content] prints nothing. No error contains a
// value of an event: it names a reason of a closed set and a place made of names that the
// contract defines. The id of an event is shown.
//
// # Limits
//
// The package keeps no state: duplicates and cool-downs are the inbox's. It does not check
// whether a mailbox exists. Avro, Protobuf and batches are refused, and so is a value that
// the application compressed or encoded twice. [NormalizeEmail] does not fold Unicode
// domains into their ASCII form: the two spellings are two addresses.
//
// docs/events.md is the guide for platforms.
package schemas
