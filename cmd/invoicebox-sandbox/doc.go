// Command invoicebox-sandbox simulates the partner API of Invoicebox, to try
// things out against. It misbehaves on purpose and is no product.
//
// It serves the API on one address and the admin endpoints, which ask for no
// password, on another. All that goes wrong unasked comes from one seed, so a
// run can be repeated. What it knows is in memory and gone when it ends.
//
// A signal gives requests under way one second and then cuts them, as a crash
// would. Exit status: 0 ended when asked to, 1 a failure or a setting with a
// wrong value, 2 wrong usage.
package main
