// Command invoicebox-demo shows the whole service at work: an embedded Kafka
// broker, the sandbox of Invoicebox, the worker as a process of its own, and a
// platform whose shops have different scenarios. Halfway through, while an
// activation call is in flight, the demo kills the worker and starts it again.
// It needs no network and installs nothing; its files are in a temporary folder
// that it removes.
//
// It ends by itself, with exit status 0 only when every shop reached the end
// that its scenario asks for; q ends it early with 0, Ctrl-C with 130.
package main
