// Command invoicebox-demo shows the whole service at work: an
// embedded Kafka broker, the sandbox of Invoicebox, the worker as a process of
// its own, and a platform
// whose shops meet different fates. In the middle, while an activation is on
// its way, the worker is killed and started again. The demo needs no network and
// installs nothing; what it writes lies in a temporary folder that it removes.
//
// It ends by itself, with exit status 0 only when every shop reached the end
// that its story asks for; q ends it early with 0, Ctrl-C with 130.
package main
