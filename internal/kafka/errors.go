package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// An ErrorClass is the kind of an error: a closed set, fit for a metric label.
type ErrorClass string

// The classes of errors.
const (
	Unreachable    ErrorClass = "unreachable"    // no connection, or it broke
	TLSFault       ErrorClass = "tls"            // only one side uses TLS, or a certificate is refused
	Authentication ErrorClass = "authentication" // SASL
	Authorization  ErrorClass = "authorization"  // an ACL is missing
	MissingTopic   ErrorClass = "missing_topic"
	Leader         ErrorClass = "leader"      // leader or replicas are moving or missing
	Coordinator    ErrorClass = "coordinator" // a coordinator, of a group or of producer ids, is loading, moving or missing
	Timeout        ErrorClass = "timeout"
	TooLarge       ErrorClass = "too_large"
	Refused        ErrorClass = "refused" // the broker refuses the request for another reason
	Other          ErrorClass = "other"
)

// An Error is an error of the library with an explanation.
type Error struct {
	Class   ErrorClass
	Message string
	Err     error // the library's
}

// Error returns the explanation, followed by the library's text.
func (f *Error) Error() string { return fmt.Sprintf("kafka: %s (%v)", f.Message, f.Err) }

// Unwrap returns the library's error.
func (f *Error) Unwrap() error { return f.Err }

// brokerErrors maps the broker's error codes to their class and explanation. A code
// that is not in it is Refused.
var brokerErrors = map[kafkago.Error]struct {
	class ErrorClass
	words string
}{
	kafkago.UnknownTopicOrPartition:            {MissingTopic, "the topic does not exist, or the user may not see it"},
	kafkago.TopicAuthorizationFailed:           {Authorization, "the user has no right to the topic: an ACL for it is missing"},
	kafkago.GroupAuthorizationFailed:           {Authorization, "the user has no right to the consumer group: an ACL (Read on the group) is missing"},
	kafkago.ClusterAuthorizationFailed:         {Authorization, "the user has no right to the cluster: an ACL is missing"},
	kafkago.SASLAuthenticationFailed:           {Authentication, "the broker refuses the SASL user name or password"},
	kafkago.UnsupportedSASLMechanism:           {Authentication, "the broker does not offer this SASL mechanism"},
	kafkago.IllegalSASLState:                   {Authentication, "the broker expects another SASL mechanism, or none"},
	kafkago.LeaderNotAvailable:                 {Leader, "the partition has no leader at the moment"},
	kafkago.NotLeaderForPartition:              {Leader, "the partition's leader has moved"},
	kafkago.ReplicaNotAvailable:                {Leader, "a replica is missing"},
	kafkago.BrokerNotAvailable:                 {Leader, "the broker is not available"},
	kafkago.NotEnoughReplicas:                  {Leader, "too few replicas are in sync"},
	kafkago.NotEnoughReplicasAfterAppend:       {Leader, "too few replicas are in sync"},
	kafkago.KafkaStorageError:                  {Leader, "the broker has a disk error"},
	kafkago.FencedLeaderEpoch:                  {Leader, "the partition's leader has moved"},
	kafkago.UnknownLeaderEpoch:                 {Leader, "the partition's leader has moved"},
	kafkago.OffsetNotAvailable:                 {Leader, "the partition's new leader is catching up"},
	kafkago.GroupLoadInProgress:                {Coordinator, "a coordinator of the brokers is loading"},
	kafkago.GroupCoordinatorNotAvailable:       {Coordinator, "the brokers have no coordinator at the moment"},
	kafkago.NotCoordinatorForGroup:             {Coordinator, "the coordinator has moved to another broker"},
	kafkago.RebalanceInProgress:                {Coordinator, "the group is rebalancing"},
	kafkago.IllegalGeneration:                  {Coordinator, "the group has removed this member"},
	kafkago.UnknownMemberId:                    {Coordinator, "the group has no such member any more"},
	kafkago.RequestTimedOut:                    {Timeout, "the broker did not finish in time"},
	kafkago.NetworkException:                   {Unreachable, "the connection to the broker broke"},
	kafkago.MessageSizeTooLarge:                {TooLarge, "the broker accepts no record of this size (max.message.bytes)"},
	kafkago.RecordListTooLarge:                 {TooLarge, "the broker accepts no batch of this size"},
	kafkago.InvalidTopic:                       {Refused, "the broker refuses the topic's name"},
	kafkago.InvalidRecord:                      {Refused, "the broker refuses the record"},
	kafkago.PolicyViolation:                    {Refused, "the broker's policy refuses the request"},
	kafkago.UnsupportedVersion:                 {Refused, "the broker is too old for this request"},
	kafkago.TransactionalIDAuthorizationFailed: {Authorization, "the user has no right to produce: an ACL is missing"},
}

// ClassOf returns the class of err; "" for nil.
func ClassOf(err error) ErrorClass {
	if err == nil {
		return ""
	}
	class, _ := classify(err)
	return class
}

// Wrap explains an error of the library, as an *[Error]. It returns nil and explained
// errors unchanged.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	class, words := classify(err)
	return &Error{Class: class, Message: words, Err: err}
}

// IsDenied reports whether err lasts until an operator corrects a user, a password, an
// ACL or TLS.
func IsDenied(err error) bool {
	switch ClassOf(err) {
	case Authorization, Authentication, TLSFault:
		return true
	}
	return false
}

func classify(err error) (ErrorClass, string) {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Class, f.Message
	}
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		if row, ok := brokerErrors[code]; ok {
			return row.class, row.words
		}
		return Refused, "the broker refuses the request"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return TLSFault, "TLS is set, but the broker's listener does not use it"
	}
	_, unknownCA := errors.AsType[x509.UnknownAuthorityError](err)
	_, wrongHost := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	// A TLS alert of the other side: crypto/tls exports no type for it outside QUIC.
	operation, _ := errors.AsType[*net.OpError](err)
	alert := operation != nil && operation.Op == "remote error"
	_, network := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, ErrPlaintextPassword):
		return Authentication, "the password is not sent"
	case unknownCA, wrongHost, invalid, verification:
		return TLSFault, "the broker's certificate is not trusted: check the CA file and the broker's host name"
	case alert:
		return TLSFault, "the broker ended the TLS handshake: it may ask for a client certificate, or refuse ours"
	case errors.Is(err, protocol.ErrNoTopic):
		return MissingTopic, "the topic does not exist, or the user may not see it"
	case errors.Is(err, protocol.ErrNoPartition), errors.Is(err, protocol.ErrNoLeader):
		return Leader, "the partition has no leader at the moment"
	case strings.Contains(err.Error(), "expecting TLS"):
		return TLSFault, "the broker's listener expects TLS, and TLS is not set"
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout, "the broker did not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Unreachable, "the broker closed the connection: it is going down, its limit of connections (max.connections, max.connections.per.ip) is reached, or TLS, SASL or the password is not what its listener expects"
	case network:
		if n, _ := errors.AsType[net.Error](err); n.Timeout() {
			return Timeout, "the broker did not answer in time: check the network, and whether its listener uses TLS"
		}
		return Unreachable, "the broker cannot be reached: check its address and whether it runs"
	}
	return Other, "the client library failed"
}
