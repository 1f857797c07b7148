// Package kafkatest gives tests a Kafka to talk to: an embedded one in the
// test's own process, or Apache Kafka itself as child processes.
//
// [Embedded] needs nothing but Go, is there at once and can be told to fail
// (through [Cluster.Fake]). It is not Kafka: it has no real log, no quotas and
// one run loop. [Real] is Apache Kafka in KRaft mode on loopback, with every
// broker a controller too, and its brokers can be stopped, killed, frozen and
// started again. [Both] runs one test on either, [Shared] starts one real
// broker for all tests of a test binary. [WithBrokers](3) is a cluster that
// survives the loss of one broker: three copies of every topic, the internal
// ones included, of which two must have a record before it is acknowledged; a
// quarter of a gigabyte of heap each. [WithTLS] makes the brokers of Apache Kafka
// speak TLS, with certificates that are made on the spot.
//
// # What is needed for Apache Kafka
//
// Java 17 or later on the PATH and the environment variable
// INVOICEBOX_TEST_KAFKA, which names a folder with Kafka's jars; the script
// fetch-kafka.sh beside this file makes one. Where either is missing the test
// is skipped with a word that says so, unless INVOICEBOX_TEST_REQUIRE holds the
// word "kafka": then it fails, so that a check that is meant to run cannot
// quietly stop running. Real brokers are started on Linux only.
//
// # What is guaranteed
//
//   - A cluster that is returned answers on every broker, and its topics have a
//     leader for every partition. Its consumer groups may still be without a
//     coordinator for a moment, as on every fresh Kafka.
//   - Brokers keep their address over Stop, Kill and Start. The ports lie below
//     the range from which systems give ports to outgoing connections, so
//     nothing takes them meanwhile.
//   - Child processes end with the test binary, also when it is killed or
//     panics: the kernel kills them, and a small shell process that sees its
//     standard input end removes their files.
//   - A closed cluster leaves no goroutine. The shared one keeps one per broker:
//     goleak.IgnoreAnyFunction with "invoicebox-worker/internal/testutil/kafkatest.(*node).own".
//   - A broker's log is shown only by a test that failed, and only its end.
//
// # What is not
//
// Durability: files lie in the system's temporary folder, and Close kills.
// Secrecy: a SASL password is seen in the list of processes while the broker's
// disk is formatted; use made-up ones.
//
// # Facts kept by this package's tests
//
// Murmur2 places keys as Java's clients do, on both kinds; a key's records keep
// their order in one partition; a record over the broker's limit is refused; a
// lone broker comes back with its records after SIGTERM and after SIGKILL; of
// three brokers, which keep three copies and want two, one can go. That TLS is
// spoken and client certificates are asked for is seen by package e2e. What consumer groups, offsets and producers do is
// tested where it is relied on, in the packages consumer and producer.
package kafkatest
