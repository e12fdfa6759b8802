package peers;

import com.google.protobuf.ByteString;
import hello.Hello.Request;
import hello.HelloServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.StreamObserver;
import java.util.Iterator;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import meshless.lab.v1.StreamServiceGrpc;
import meshless.lab.v1.Streams.StreamItem;
import meshless.lab.v1.Streams.StreamRequest;
import meshless.lab.v1.Streams.StreamSummary;

/** Makes one call of a shape and checks the answer: a wrong one counts as DATA_LOSS. */
final class Shapes {
  /** How a call ended, and the backend that answered. */
  record Outcome(Status status, String backend) {}

  private static final ByteString PAYLOAD = ByteString.copyFromUtf8("sixteen bytes ok");

  private final Channel channel;
  private final String shape;
  private final int items;
  private final long intervalMs;

  Shapes(Channel channel, String shape, int items, long intervalMs) {
    this.channel = channel;
    this.shape = shape;
    this.items = items;
    this.intervalMs = intervalMs;
  }

  Outcome run(long id, long deadlineMs) {
    Tagged tagged = new Tagged(id);
    try {
      switch (shape) {
        case "unary" -> unary(tagged.stub(HelloServiceGrpc.newBlockingStub(channel), deadlineMs));
        case "server-stream" -> serverStream(tagged.stub(StreamServiceGrpc.newBlockingStub(channel), deadlineMs));
        case "client-stream" -> clientStream(tagged.stub(StreamServiceGrpc.newStub(channel), deadlineMs));
        case "bidi-stream" -> bidiStream(tagged.stub(StreamServiceGrpc.newStub(channel), deadlineMs));
        default -> throw new IllegalArgumentException("unknown shape " + shape);
      }
      return new Outcome(Status.OK, tagged.backend.get());
    } catch (StatusRuntimeException e) {
      return new Outcome(e.getStatus(), "");
    }
  }

  private void unary(HelloServiceGrpc.HelloServiceBlockingStub stub) {
    String message = stub.echo(Request.newBuilder().setMessage("hello").build()).getMessage();
    check(message.equals("hello"), "message " + message);
  }

  private void serverStream(StreamServiceGrpc.StreamServiceBlockingStub stub) {
    Iterator<StreamItem> answer = stub.serverStream(
        StreamRequest.newBuilder().setCount(items).setIntervalMs((int) intervalMs).setPayload(PAYLOAD).build());
    for (int sequence = 0; sequence < items; sequence++) {
      check(answer.hasNext(), "ended before item " + sequence);
      check(answer.next().equals(item(sequence)), "not item " + sequence);
    }
    check(!answer.hasNext(), "an item after the last");
  }

  private void clientStream(StreamServiceGrpc.StreamServiceStub stub) {
    Received<StreamSummary> received = new Received<>();
    StreamObserver<StreamItem> sink = stub.clientStream(received);
    for (int sequence = 0; sequence < items && !received.hasEnded(); sequence++) {
      send(sink, sequence);
    }
    sink.onCompleted();
    StreamSummary summary = received.next();
    check(summary.getCount() == items && summary.getBytes() == (long) items * PAYLOAD.size(), "summary " + summary);
    check(received.next() == null, "an answer after the last");
  }

  private void bidiStream(StreamServiceGrpc.StreamServiceStub stub) {
    Received<StreamItem> received = new Received<>();
    StreamObserver<StreamItem> sink = stub.bidiStream(received);
    for (int sequence = 0; sequence < items; sequence++) {
      send(sink, sequence);
      check(item(sequence).equals(received.next()), "not item " + sequence);
    }
    sink.onCompleted();
    check(received.next() == null, "an item after the last");
  }

  /** Paces: the first item goes at once, the others an interval apart. */
  private void send(StreamObserver<StreamItem> sink, int sequence) {
    if (sequence > 0) {
      try {
        Thread.sleep(intervalMs);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    sink.onNext(item(sequence));
  }

  private static StreamItem item(int sequence) {
    return StreamItem.newBuilder().setSequence(sequence).setPayload(PAYLOAD).build();
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) {
      throw Status.DATA_LOSS.withDescription(otherwise).asRuntimeException();
    }
  }

  /** What a stream answered, to be taken one by one; null at its good end, an exception at a bad one. */
  private static final class Received<T> implements StreamObserver<T> {
    private final BlockingQueue<Object> queue = new ArrayBlockingQueue<>(1024);
    private volatile boolean ended;

    boolean hasEnded() {
      return ended;
    }

    @SuppressWarnings("unchecked")
    T next() {
      try {
        Object next = queue.poll(30, TimeUnit.SECONDS);
        if (next instanceof Status status) {
          if (status.isOk()) {
            return null;
          }
          throw status.asRuntimeException();
        }
        check(next != null, "nothing for 30 s");
        return (T) next;
      } catch (InterruptedException e) {
        throw Status.CANCELLED.asRuntimeException();
      }
    }

    @Override
    public void onNext(T item) {
      queue.add(item);
    }

    @Override
    public void onError(Throwable error) {
      ended = true;
      queue.add(Status.fromThrowable(error));
    }

    @Override
    public void onCompleted() {
      ended = true;
      queue.add(Status.OK);
    }
  }

  /** Sends the call's id and notes who answered. */
  private static final class Tagged implements ClientInterceptor {
    private final long id;
    private final AtomicReference<String> backend = new AtomicReference<>("unnamed");

    Tagged(long id) {
      this.id = id;
    }

    <S extends AbstractStub<S>> S stub(S stub, long deadlineMs) {
      return stub.withDeadlineAfter(deadlineMs, TimeUnit.MILLISECONDS).withInterceptors(this);
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<A> listener, Metadata headers) {
          headers.put(Server.CALL_ID, Long.toString(id));
          super.start(new SimpleForwardingClientCallListener<>(listener) {
            @Override
            public void onHeaders(Metadata received) {
              String name = received.get(Server.BACKEND);
              if (name != null) {
                backend.set(name);
              }
              super.onHeaders(received);
            }
          }, headers);
        }
      };
    }
  }
}
