package kafkatest

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

const (
	serverSettings = "server.properties"
	logSettings    = "log4j2.properties"
)

// The ports of one broker, in the order in which they are laid out.
const (
	clientPort = iota
	internalPort
	controllerPort
	portsPerNode
)

// logProperties keeps the log of a broker to what helps to understand a failed
// test; the configuration alone would be 1,000 lines.
const logProperties = `rootLogger.level=INFO
rootLogger.appenderRefs=stdout
rootLogger.appenderRef.stdout.ref=STDOUT
appender.stdout.type=Console
appender.stdout.name=STDOUT
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n
logger.config.name=org.apache.kafka.common.config
logger.config.level=ERROR
logger.state.name=state.change.logger
logger.state.level=WARN
`

// layout is where the brokers of a cluster listen and what they are told.
type layout struct {
	config    Config
	dir       string // of the cluster
	ports     []int
	clusterID string
}

func (l layout) address(broker, port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.ports[portsPerNode*broker+port]))
}

// properties is one broker's server.properties.
func (l layout) properties(broker int, data string) []byte {
	brokers := l.config.Brokers
	copies := strconv.Itoa(min(3, brokers))
	needed := strconv.Itoa(max(1, min(3, brokers)-1))
	var voters []string
	for i := range brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, l.address(i, controllerPort)))
	}
	p := map[string]string{
		"process.roles":            "broker,controller",
		"node.id":                  strconv.Itoa(broker + 1),
		"controller.quorum.voters": strings.Join(voters, ","),
		"listeners": "CLIENT://" + l.address(broker, clientPort) +
			",INTERNAL://" + l.address(broker, internalPort) +
			",CONTROLLER://" + l.address(broker, controllerPort),
		"advertised.listeners": "CLIENT://" + l.address(broker, clientPort) +
			",INTERNAL://" + l.address(broker, internalPort),
		"listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "INTERNAL",
		"controller.listener.names":      "CONTROLLER",
		"log.dirs":                       data,

		"auto.create.topics.enable":                "false",
		"default.replication.factor":               copies,
		"min.insync.replicas":                      needed,
		"offsets.topic.num.partitions":             "4",
		"offsets.topic.replication.factor":         copies,
		"transaction.state.log.num.partitions":     "4",
		"transaction.state.log.replication.factor": copies,
		"transaction.state.log.min.isr":            needed,
		"group.initial.rebalance.delay.ms":         "0",
		"log.cleaner.dedupe.buffer.size":           "4194304",
		"message.max.bytes":                        strconv.Itoa(l.config.MaxMessageBytes),
		"replica.fetch.max.bytes":                  strconv.Itoa(l.config.MaxMessageBytes),
	}
	if s := l.config.SASL; s != nil {
		p["listener.security.protocol.map"] = "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
		p["sasl.enabled.mechanisms"] = s.Mechanism
		module := "scram.ScramLoginModule required"
		if s.Mechanism == Plain {
			module = fmt.Sprintf("plain.PlainLoginModule required user_%s=%q", s.Username, s.Password)
		}
		p["listener.name.client."+strings.ToLower(s.Mechanism)+".sasl.jaas.config"] = "org.apache.kafka.common.security." + module + ";"
	}
	if l.config.TLS {
		l.secure(p)
	}
	maps.Copy(p, l.config.Properties)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", name, p[name])
	}
	return []byte(b.String())
}

// users are the arguments of Kafka's storage tool that name the users a disk begins with.
func (l layout) users() []string {
	s := l.config.SASL
	if s == nil || s.Mechanism == Plain {
		return nil
	}
	return []string{"--add-scram", fmt.Sprintf("%s=[name=%q,password=%q]", s.Mechanism, s.Username, s.Password)}
}
