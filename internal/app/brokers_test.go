package app

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

const far = "kafka.example:9092"

// brokers is a cluster with all topics, in front of which stands the address far.
func brokers(t *testing.T, reachable bool) (*kafkatest.Cluster, Options) {
	t.Helper()
	o := Options{}
	var topics []kafkago.TopicConfig
	for _, name := range o.AllTopics() {
		topics = append(topics, kafkago.TopicConfig{Topic: name, NumPartitions: 2})
	}
	c := kafkatest.Embedded(t, kafkatest.WithTopics(topics...))
	var direct net.Dialer
	o.Kafka = kafka.Config{Brokers: []string{far}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		switch {
		case address == far:
			address = c.Brokers()[0]
		case !reachable:
			return nil, errors.New("connection refused")
		}
		return direct.DialContext(ctx, network, address)
	}}
	return c, o
}

// The brokers say what the user may do with each topic.
func TestCheckRights(t *testing.T) {
	c, o := brokers(t, true)
	conn, err := kafka.New(o.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	all := o.UsedTopics()
	const (
		every  = 1<<3 | 1<<4 | 1<<8
		unsaid = math.MinInt32 + 1 // in this test: the broker says nothing, and the topic has no error
	)
	for name, x := range map[string]struct {
		operations map[string]int32 // of topics; others: every
		verdict    CheckVerdict
		want       []string
	}{
		"granted":              {nil, CheckOK, []string{"may read the inputs and write the results"}},
		"no write":             {map[string]int32{all[3]: 1<<3 | 1<<8}, CheckFailed, []string{"may not write " + all[3] + ": grant WRITE"}},
		"no read":              {map[string]int32{all[0]: 1<<4 | 1<<8}, CheckFailed, []string{"may not read " + all[0] + ": grant READ"}},
		"not described":        {map[string]int32{all[1]: math.MinInt32, all[4]: math.MinInt32}, CheckFailed, []string{"may not read " + all[1], "may not write " + all[4]}},
		"not said":             {map[string]int32{all[4]: unsaid}, CheckWarning, []string{"do not say what the user may do with " + all[4]}},
		"results need no read": {map[string]int32{all[5]: 1 << 4}, CheckOK, []string{"may read"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Fake().ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
				r, ok := request.(*kmsg.MetadataRequest)
				if !ok || !r.IncludeTopicAuthorizedOperations {
					return nil, nil, false
				}
				answer := r.ResponseKind().(*kmsg.MetadataResponse)
				for _, asked := range r.Topics {
					topic := kmsg.NewMetadataResponseTopic()
					topic.Topic, topic.AuthorizedOperations = asked.Topic, every
					if operations, ok := x.operations[*asked.Topic]; ok {
						topic.AuthorizedOperations = operations
					}
					switch topic.AuthorizedOperations {
					case math.MinInt32:
						topic.ErrorCode = 29 // TOPIC_AUTHORIZATION_FAILED
					case unsaid:
						topic.AuthorizedOperations = math.MinInt32
					}
					answer.Topics = append(answer.Topics, topic)
				}
				return answer, nil, true
			})
			got := checkRights(t.Context(), o, conn, all)
			if got.Verdict != x.verdict {
				t.Errorf("%+v", got)
			}
			for _, part := range x.want {
				if !strings.Contains(got.Detail, part) {
					t.Errorf("%q does not say %q", got.Detail, part)
				}
			}
		})
	}
	// As the broker itself answers.
	if got := checkRights(t.Context(), o, conn, all); got.Verdict != CheckOK {
		t.Errorf("%+v", got)
	}
}

// Where the addresses that brokers advertise cannot be reached, check and the
// start of a new journal fail and name one.
func TestCheckReach_AdvertisedAddress(t *testing.T) {
	c, o := brokers(t, false)
	conn, err := kafka.New(o.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	if topics, warning, err := checkTopics(t.Context(), &o, conn); err != nil || warning != "" || !slices.Equal(topics, o.UsedTopics()) {
		t.Fatalf("the topics: %q, %q, %v", topics, warning, err)
	}
	lacking := o
	lacking.Topics = map[string]string{schemas.TypeActivated: "missing"}
	for name, f := range map[string]func(context.Context) error{
		"topics": func(ctx context.Context) error {
			_, _, err := checkTopics(ctx, &lacking, conn)
			if err == nil || !strings.Contains(err.Error(), "has no topic missing") {
				t.Errorf("%v", err)
			}
			return err
		},
		"check": func(ctx context.Context) error { return checkReach(ctx, conn, o.KafkaGroup, o.AllTopics()) },
		"group": func(ctx context.Context) error {
			return consumer.CheckGroup(ctx, conn, o.KafkaGroup, o.inputTopics(), consumer.Start{}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := f(ctx); err == nil || !strings.Contains(err.Error(), c.Brokers()[0]) || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A worker that was installed before the topic of disconnected shops existed still starts.
func TestCheckTopics_DisconnectedIsMissing(t *testing.T) {
	_, o := brokers(t, true)
	o.Topics = map[string]string{schemas.TypeDisconnected: "missing"}
	conn, err := kafka.New(o.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	topics, warning, err := checkTopics(t.Context(), &o, conn)
	if err != nil || !strings.Contains(warning, "has no topic missing") {
		t.Errorf("%q, %v", warning, err)
	}
	if want := slices.DeleteFunc(o.UsedTopics(), func(name string) bool { return name == "missing" }); !slices.Equal(topics, want) {
		t.Errorf("%q, want %q", topics, want)
	}
	if err := checkReach(t.Context(), conn, o.KafkaGroup, topics); err != nil {
		t.Error(err)
	}
}

// check reports brokers that give no producer ids.
func TestCheckProducing(t *testing.T) {
	for name, code := range map[string]int16{"ok": 0, "warning": kerr.ClusterAuthorizationFailed.Code} {
		t.Run(name, func(t *testing.T) {
			c, o := brokers(t, true)
			if code != 0 {
				c.Fake().ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
					response := r.ResponseKind().(*kmsg.InitProducerIDResponse)
					response.ErrorCode = code
					return response, nil, true
				})
			}
			conn, err := kafka.New(o.Kafka)
			if err != nil {
				t.Fatal(err)
			}
			if got := checkProducing(t.Context(), conn); string(got.Verdict) != name {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Brokers beyond loopback without TLS are reported, also where only their
// advertised addresses are.
func TestCheckPlaintext(t *testing.T) {
	_, o := brokers(t, true)
	for name, row := range map[string]struct {
		config kafka.Config
		want   bool
	}{
		"Far":      {o.Kafka, true},
		"TLS":      {kafka.Config{Brokers: []string{far}, TLS: &kafka.TLS{}}, false},
		"Loopback": {kafka.Config{Brokers: []string{"localhost:9092"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := kafka.New(row.config)
			if err != nil {
				t.Fatal(err)
			}
			got := checkPlaintext(Options{Kafka: row.config}, conn)
			if (len(got) == 1) != row.want || row.want && (got[0].Verdict != CheckWarning || !strings.Contains(got[0].Detail, far) || !strings.Contains(got[0].Detail, "--kafka-tls")) {
				t.Errorf("%+v", got)
			}
		})
	}
}
