// Package scenario is what the end-to-end tests share: a generator of what a platform
// says ([Tell]), and an oracle that judges from outside what workers made of it ([Judge]).
// It is for tests only.
//
// The oracle gives each subject, which is a code or an address of a shop, its one end:
// the state and the reason of its operation. A table says what must hold at each end. The
// requests, effects and events of all subjects must add up to what the API and the topics
// have; what belongs to no subject is an error.
package scenario
