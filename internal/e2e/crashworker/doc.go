// Crashworker is the service with a place to stop at: a program for the tests of
// package internal/e2e, which kill it or freeze it there.
//
// It runs the very wiring of invoicebox-worker over a real journal, and puts
// itself between the two: an operation that reaches the point of the settings is
// parked there, for the first time only, and its name is printed on stdout as
// "parked KIND/SHOP". Whoever runs the program then sends it a signal, or the
// line "go" on stdin, after which everything goes on and nothing is parked any
// more. Nobody takes work before all the events that are watched are in the
// inbox, so that all of them are on their way together. Several may share a
// journal: each then has its part of the events, and takes no work before the
// line "begin" on stdin, or "go". What a worker claims is printed as
// "claimed KIND/SHOP".
//
// # Points
//
//	intake     read from Kafka, before the inbox
//	inbox      inbox written, offset not committed
//	claimed    claimed, before the attempt is durable
//	sending    the attempt is durable, nothing is sent
//	answered   the answer, or the want of one, is known and not written
//	received   the receipt is durable, nothing is stored
//	storing    the secret is sealed and checked, nothing is stored
//	stored     the secret is stored, its verification goes on
//	completed  the outcome is durable, its event is not published
//	published  its event is in Kafka and not marked; "publishing" is printed once
//	erased     the rows of a shop are erased, the audit trail is not; "parked erasure"
//	           is printed, here and at the next two points
//	detailed   the details of the audit trail are erased, the file is not rewritten
//	scrubbed   the file is rewritten, the operator action has not ended
//
// Between sending and answered nothing of the journal happens: a request is
// held there by whoever answers it.
//
// When stdin ends, the process ends: it cannot outlive its test.
package main
