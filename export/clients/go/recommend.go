// Package recommend ranks items with a model that multvae-export wrote. It needs only onnxruntime.
//
// The environment variable ONNXRUNTIME_LIB names onnxruntime's shared library, of version 1.24 or newer.
package recommend

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// Item is an item's token, or RecBole's id of it where the file has ids.
type Item interface{ string | int64 }

// Options are optional inputs, for a file that was exported with them. Nil leaves an option out.
type Options[T Item] struct {
	Exclude [][]T       // Items never to return: a list for each history, or one for all.
	Among   [][]T       // The only items to rank, likewise; nil ranks all.
	Noise   [][]float32 // [batch or 1][K], standard normal numbers for a sample; nil for none.
}

// Ranking is the answer to a batch of histories.
type Ranking[T Item] struct {
	Items   [][]T         // [batch][k], best first; a row with fewer items ends in "" (of ids: 0).
	Scores  [][]float32   // [batch][k]; -Inf where no item remains.
	Reasons [][][]float32 // [batch][k][length]: by how much each item of the history raises each score; nil if the file has none.
}

// InputError says that the arguments of Recommend do not fit together, or that the file lacks an option that they use.
type InputError string

func (e InputError) Error() string { return string(e) }

// ErrClosed says that a model was closed before it was asked.
var ErrClosed = errors.New("the model is closed")

func inputError(format string, values ...any) error {
	return InputError(fmt.Sprintf(format, values...))
}

// Config says how a model runs. Its zero value suits a process that ranks one request at a time.
type Config struct {
	GPU bool // Run on CUDA if it is available, else on the CPU.
	// Threads of one call on the CPU. 0 leaves it to onnxruntime, which takes the machine's cores; where the process may use
	// fewer, as in a container with a CPU quota, it takes GOMAXPROCS.
	Threads int
	// Give the memory of a call back when the call ends. Otherwise onnxruntime keeps the most that calls have taken at once.
	ReturnMemory bool
	Unchecked    bool // Do not compare the digest of the weights, for which the file is read once more.
}

// Model is a loaded file. Goroutines may share it. To put another in its place while they run, share an
// atomic.Pointer[Model]: swap the pointer, close the former model, and where a call says ErrClosed, load the pointer and call again.
type Model struct {
	Version  int64  // The file's model_version: the time of the training in seconds since 1970, or 1.
	Provider string // What it runs on: "CUDAExecutionProvider" or "CPUExecutionProvider".
	IDs      bool   // Its items are ids, of type int64; otherwise they are tokens, of type string.
	inputs   []string
	outputs  []string
	noise    int64 // K, the length of a row of noise.
	session  *ort.DynamicAdvancedSession
	metadata map[string]string
	calls    sync.RWMutex // Those that run hold it for reading, Close for writing.
	closed   bool
}

var versions = []string{"1", "2"}

// mostThreads are the threads that a call may have: more than a machine has cores.
const mostThreads = 1024

// exportedBy maps an input to the option of multvae-export that adds it.
var exportedBy = map[string]string{"exclude": "--filters", "among": "--filters", "noise": "--posterior"}

// environment guards onnxruntime's environment, which a process has once, and the level of its log.
var environment sync.Mutex

// Load opens a file that was exported with --io tokens or --io ids; any other file is an error.
func Load(path string, config Config) (*Model, error) {
	if err := isFile(path); err != nil {
		return nil, err
	}
	if config.Threads < 0 || config.Threads > mostThreads {
		return nil, fmt.Errorf("threads is %d: expected 0 to %d", config.Threads, mostThreads)
	}
	if err := start(); err != nil {
		return nil, err
	}
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	defer release(settings)
	// The binding reads the file once more for this.
	inputs, outputs, err := ort.GetInputOutputInfoWithOptions(path, settings)
	if err != nil {
		return nil, fmt.Errorf("%s is no ONNX model that onnxruntime can read: export the model again (%w)", path, err)
	}
	m := &Model{}
	if err := m.take(inputs, outputs); err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	if err := m.open(path, config, settings); err != nil {
		return nil, fmt.Errorf("%s cannot be opened: %w", path, err)
	}
	if err := m.check(path, config); err != nil {
		m.Close()
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return m, nil
}

// check returns an error if this client does not know the contract of a file, or the file is damaged.
func (m *Model) check(path string, config Config) error {
	if err := m.read(); err != nil {
		return fmt.Errorf("has no metadata: %w", err)
	}
	if version := m.Metadata("contract_version"); !slices.Contains(versions, version) {
		return fmt.Errorf("has the contract version %s, this client knows %s: update it", cmp.Or(version, "none"), strings.Join(versions, " and "))
	}
	expected := m.Metadata("weights_sha256") // Files of older exporters have none.
	if config.Unchecked || expected == "" {
		return nil
	}
	if found, err := weightsDigest(path, m.Metadata("weights_file")); err != nil || found != expected {
		return fmt.Errorf("is damaged: the SHA-256 of its weights is %s, not %s; copy the file again", cmp.Or(found, "unknown"), expected)
	}
	return nil
}

// weightsDigest returns the SHA-256 of a file's graph, field 7 of the message ModelProto, and then of its second file, if there
// is one.
func weightsDigest(path, second string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest, fields := sha256.New(), bufio.NewReaderSize(file, 1<<20)
	for {
		key, err := binary.ReadUvarint(fields)
		if err == io.EOF {
			break
		}
		length, lengthErr := binary.ReadUvarint(fields) // Of a field of another kind, its value.
		if err = errors.Join(err, lengthErr); err == nil && key == 7<<3|2 {
			_, err = io.CopyN(digest, fields, int64(length))
		} else if err == nil && key&7 == 2 {
			_, err = io.CopyN(io.Discard, fields, int64(length))
		}
		if err != nil {
			return "", err
		}
	}
	if second != "" {
		weights, err := os.Open(filepath.Join(filepath.Dir(path), second))
		if err != nil {
			return "", err
		}
		defer weights.Close()
		if _, err := io.Copy(digest, weights); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// read keeps the metadata of the file.
func (m *Model) read() error {
	metadata, err := m.session.GetModelMetadata()
	if err != nil {
		return err
	}
	defer release(metadata)
	keys, err := metadata.GetCustomMetadataMapKeys()
	m.metadata = make(map[string]string, len(keys))
	for _, key := range keys {
		value, _, failed := metadata.LookupCustomMetadataMap(key)
		m.metadata[key] = value
		err = errors.Join(err, failed)
	}
	version, failed := metadata.GetVersion()
	m.Version = version
	return errors.Join(err, failed)
}

// Metadata returns an entry of the file's metadata, or "" if the file does not have it.
func (m *Model) Metadata(key string) string { return m.metadata[key] }

// Close releases the model once the calls that run have ended. Later calls are told ErrClosed.
func (m *Model) Close() {
	m.calls.Lock()
	defer m.calls.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	release(m.session)
}

// isFile returns an error if a path is not that of a file.
func isFile(path string) error {
	file, err := os.Stat(path)
	switch {
	case err == nil && file.IsDir():
		return fmt.Errorf("%s is a folder: expected a model exported with --io tokens or --io ids", path)
	case err != nil || !file.Mode().IsRegular():
		return fmt.Errorf("%s is missing: expected a model exported with --io tokens or --io ids", path)
	}
	return nil
}

// settings returns those of a session, without CUDA.
func (c Config) settings() (*ort.SessionOptions, error) {
	settings, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	threads := c.Threads
	if usable := runtime.GOMAXPROCS(0); threads == 0 && usable < runtime.NumCPU() {
		threads = usable
	}
	keep := !c.ReturnMemory
	err = errors.Join(settings.SetIntraOpNumThreads(threads), settings.SetCpuMemArena(keep), settings.SetMemPattern(keep))
	if err != nil {
		release(settings)
	}
	return settings, err
}

// start starts onnxruntime, unless the process has started it already.
func start() error {
	environment.Lock()
	defer environment.Unlock()
	if ort.IsInitialized() {
		return nil
	}
	library := os.Getenv("ONNXRUNTIME_LIB")
	if library == "" {
		return errors.New("ONNXRUNTIME_LIB is not set: expected the path of onnxruntime's shared library")
	}
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(); err != nil {
		return fmt.Errorf("ONNXRUNTIME_LIB is %s: expected onnxruntime's shared library, 1.24 or newer (%w)", library, err)
	}
	return nil
}

// take keeps the inputs and outputs of a file; an error if they are not those of --io tokens or --io ids.
func (m *Model) take(inputs, outputs []ort.InputOutputInfo) error {
	m.inputs, m.outputs = []string{"history", "k"}, []string{"items", "scores"}
	var history ort.TensorElementDataType
	var types []string
	known := true
	for _, input := range inputs {
		kind := strings.TrimPrefix(input.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_")
		types = append(types, strings.ToLower(kind)+" "+input.Name)
		switch input.Name {
		case "history":
			history = input.DataType
		case "k": // It is not listed if it has a default, but it can be fed.
		case "exclude", "among":
			m.inputs = append(m.inputs, input.Name)
		case "noise":
			m.inputs, m.noise = append(m.inputs, input.Name), input.Dimensions[1]
		default:
			known = false
		}
	}
	m.IDs = history == ort.TensorElementDataTypeInt64
	if !known || !m.IDs && history != ort.TensorElementDataTypeString {
		return fmt.Errorf("takes %s: expected history and k; export the model with --io tokens or --io ids", strings.Join(types, ", "))
	}
	if slices.ContainsFunc(outputs, func(output ort.InputOutputInfo) bool { return output.Name == "reasons" }) {
		m.outputs = append(m.outputs, "reasons")
	}
	return nil
}

// open opens the session: on CUDA if it is wanted and available, else on the CPU.
func (m *Model) open(path string, config Config, settings *ort.SessionOptions) (err error) {
	if config.GPU {
		if m.session, err = m.onCUDA(path, config); err == nil {
			m.Provider = "CUDAExecutionProvider"
			return nil
		}
	}
	m.Provider = "CPUExecutionProvider"
	m.session, err = ort.NewDynamicAdvancedSession(path, m.inputs, m.outputs, settings)
	return err
}

// onCUDA opens a session on CUDA. The log is off meanwhile, because onnxruntime prints many lines if it cannot.
func (m *Model) onCUDA(path string, config Config) (*ort.DynamicAdvancedSession, error) {
	environment.Lock()
	defer environment.Unlock()
	_ = ort.SetEnvironmentLogLevel(ort.LoggingLevelFatal)
	defer func() { _ = ort.SetEnvironmentLogLevel(ort.LoggingLevelError) }()
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	defer release(settings)
	cuda, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return nil, err
	}
	defer release(cuda)
	if err := settings.AppendExecutionProviderCUDA(cuda); err != nil {
		return nil, err
	}
	return ort.NewDynamicAdvancedSession(path, m.inputs, m.outputs, settings)
}

// Recommend returns the k best items for each history, of tokens or, where the model has IDs, of ids.
//
// An error is an InputError if the arguments are wrong, or ErrClosed; any other is onnxruntime's.
func Recommend[T Item](m *Model, histories [][]T, k int, options Options[T]) (*Ranking[T], error) {
	if err := Check(m, histories, k, options); err != nil {
		return nil, err
	}
	m.calls.RLock()
	defer m.calls.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	inputs, outputs := make([]ort.Value, len(m.inputs)), make([]ort.Value, len(m.outputs))
	defer release(inputs...)
	for at, name := range m.inputs {
		var input ort.Value
		var err error
		switch name {
		case "history":
			input, err = tensor(histories)
		case "k":
			input, err = ort.NewTensor(ort.NewShape(1), []int64{int64(k)})
		case "exclude":
			input, err = tensor(orZeros(options.Exclude, 0))
		case "among":
			input, err = tensor(orZeros(options.Among, 0))
		case "noise":
			input, err = tensor(orZeros(options.Noise, m.noise))
		}
		if err != nil {
			return nil, err
		}
		inputs[at] = input
	}
	if err := m.session.Run(inputs, outputs); err != nil {
		return nil, err
	}
	defer release(outputs...)
	return ranking[T](outputs)
}

// Check returns an InputError for arguments of Recommend that do not fit the model or each other.
func Check[T Item](m *Model, histories [][]T, k int, options Options[T]) error {
	if _, ids := any(options).(Options[int64]); ids != m.IDs {
		return inputError("the model takes histories of %s", map[bool]string{true: "item ids, int64", false: "tokens, string"}[m.IDs])
	}
	if k < 1 {
		return inputError("k is %d: expected 1 or more", k)
	}
	for _, option := range []struct {
		name string
		rows int
	}{{"exclude", len(options.Exclude)}, {"among", len(options.Among)}, {"noise", len(options.Noise)}} {
		if option.rows > 0 && !slices.Contains(m.inputs, option.name) {
			return inputError("the model has no input %s: export it with %s", option.name, exportedBy[option.name])
		}
		if option.rows > 1 && option.rows != len(histories) {
			return inputError("%s has %d rows: expected one, or one for each of %d histories", option.name, option.rows, len(histories))
		}
	}
	for _, row := range options.Noise {
		if int64(len(row)) != m.noise {
			return inputError("a row of noise has %d numbers: the model takes %d", len(row), m.noise)
		}
	}
	return nil
}

// orZeros returns the rows, or one row of zeros if there are none.
func orZeros[T any](rows [][]T, length int64) [][]T {
	if len(rows) == 0 {
		return [][]T{make([]T, length)}
	}
	return rows
}

// tensor returns rows of any lengths as one tensor, padded with "" or 0.
func tensor[T Item | float32](rows [][]T) (ort.Value, error) {
	length := 0
	for _, row := range rows {
		length = max(length, len(row))
	}
	padded := make([]T, len(rows)*length)
	for at, row := range rows {
		copy(padded[at*length:], row)
	}
	shape := ort.NewShape(int64(len(rows)), int64(length))
	switch padded := any(padded).(type) {
	case []string:
		// C ends a string at a zero byte; the rest could be the token of another item.
		for at, token := range padded {
			if strings.Contains(token, "\x00") {
				padded[at] = ""
			}
		}
		value, err := ort.NewStringTensor(shape)
		if err != nil {
			return nil, err
		}
		if err = value.SetContents(padded); err != nil {
			release(value)
		}
		return value, err
	case []int64:
		return ort.NewTensor(shape, padded)
	default:
		return ort.NewTensor(shape, padded.([]float32))
	}
}

// ranking copies the outputs: items, scores and, if there are any, reasons.
func ranking[T Item](outputs []ort.Value) (*Ranking[T], error) {
	var values any
	var err error
	switch items := outputs[0].(type) {
	case *ort.StringTensor:
		values, err = items.GetContents()
	case *ort.Tensor[int64]:
		values = items.GetData()
	}
	if err != nil {
		return nil, err
	}
	items, _ := values.([]T)
	rows, width := outputs[0].GetShape()[0], outputs[0].GetShape()[1]
	result := &Ranking[T]{Items: split(items, rows, width), Scores: split(floats(outputs[1]), rows, width)}
	if len(outputs) > 2 {
		each := split(floats(outputs[2]), rows*width, outputs[2].GetShape()[2])
		result.Reasons = split(each, rows, width)
	}
	return result, nil
}

func floats(value ort.Value) []float32 { return value.(*ort.Tensor[float32]).GetData() }

// split returns the rows of values, without copying them.
func split[T any](values []T, rows, width int64) [][]T {
	parts := make([][]T, rows)
	for at := range parts {
		parts[at] = values[int64(at)*width : int64(at+1)*width]
	}
	return parts
}

// Because returns the item of a history that raised a score most, by that score's reasons [length]; false if none raised it.
func Because[T Item](history []T, reasons []float32) (item T, ok bool) {
	var most float32
	for at, reason := range reasons[:min(len(history), len(reasons))] {
		if reason > most {
			item, most = history[at], reason
		}
	}
	return item, most > 0
}

func release[T interface{ Destroy() error }](values ...T) {
	for _, value := range values {
		if any(value) != nil {
			_ = value.Destroy() // It never fails.
		}
	}
}
