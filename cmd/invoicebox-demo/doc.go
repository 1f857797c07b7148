// Command invoicebox-demo shows the whole service at work in one process: an
// embedded Kafka broker, the sandbox of Invoicebox, the worker, and a platform
// whose shops meet different fates. It needs no network and installs nothing;
// what it writes lies in a temporary folder that it removes.
//
// It ends by itself, with exit status 0 only when every shop reached the end
// that its story asks for.
package main
