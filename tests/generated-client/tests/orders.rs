//! Everything that tonic generates for a client works on the channel, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::pin::Pin;
use std::time::Duration;

use generated_client::orders_client::OrdersClient;
use generated_client::orders_server::{Orders, OrdersServer};
use generated_client::{Order, Receipt};
use meshless::Channel;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

/// Answers with the items, and with what it saw of the request's metadata.
struct Shop;

type Receipts = Pin<Box<dyn Stream<Item = Result<Receipt, Status>> + Send>>;

#[tonic::async_trait]
impl Orders for Shop {
    async fn place(&self, request: Request<Order>) -> Result<Response<Receipt>, Status> {
        let seen = seen(request.metadata());
        let mut response = Response::new(receipt(request.into_inner()));
        response.metadata_mut().insert("seen", seen.parse().expect("ASCII"));
        Ok(response)
    }

    type WatchStream = Receipts;

    async fn watch(&self, request: Request<Order>) -> Result<Response<Receipts>, Status> {
        let item = request.into_inner().item;
        let receipts = (0..3).map(move |n| Ok(Receipt { text: format!("{item} {n}") }));
        Ok(Response::new(Box::pin(iter(receipts))))
    }

    async fn upload(&self, request: Request<Streaming<Order>>) -> Result<Response<Receipt>, Status> {
        let mut orders = request.into_inner();
        let mut items = Vec::new();
        while let Some(order) = orders.message().await? {
            items.push(order.item);
        }
        Ok(Response::new(Receipt { text: items.join(" ") }))
    }

    type ChatStream = Receipts;

    async fn chat(&self, request: Request<Streaming<Order>>) -> Result<Response<Receipts>, Status> {
        Ok(Response::new(Box::pin(request.into_inner().map(|order| order.map(receipt)))))
    }
}

fn receipt(order: Order) -> Receipt {
    Receipt { text: order.item }
}

fn seen(metadata: &MetadataMap) -> String {
    let value = |name| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    format!("{} {}", value("authorization"), value("grpc-encoding"))
}

fn order(item: impl Into<String>) -> Order {
    Order { item: item.into() }
}

/// Starts a server, and returns a channel to it.
async fn channel() -> Channel {
    let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let orders = OrdersServer::new(Shop)
        .accept_compressed(Gzip)
        .send_compressed(Gzip)
        .max_decoding_message_size(8 << 20)
        .max_encoding_message_size(8 << 20);
    let server = meshless::Server::builder().add_service(orders);
    tokio::spawn(server.serve_with_incoming_shutdown([listener], meshless::Shutdown::new()));
    Channel::builder(format!("ipv4:{address}")).timeout(Duration::from_secs(20)).connect_lazy().unwrap()
}

async fn texts(mut receipts: Streaming<Receipt>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(receipt) = receipts.message().await.unwrap() {
        texts.push(receipt.text);
    }
    texts
}

#[tokio::test]
async fn all_four_shapes_pass() {
    let mut client = OrdersClient::new(channel().await);
    assert_eq!(client.place(order("tea")).await.unwrap().into_inner().text, "tea");
    assert_eq!(
        texts(client.watch(order("tea")).await.unwrap().into_inner()).await,
        ["tea 0", "tea 1", "tea 2"]
    );
    let upload = client.upload(iter(["tea", "milk"].map(order))).await.unwrap();
    assert_eq!(upload.into_inner().text, "tea milk");
    let chat = client.chat(iter(["tea", "milk"].map(order))).await.unwrap();
    assert_eq!(texts(chat.into_inner()).await, ["tea", "milk"]);
}

#[tokio::test]
async fn an_interceptor_adds_metadata_to_each_shape() {
    let mut client = OrdersClient::with_interceptor(channel().await, |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", "Bearer abc".parse().expect("ASCII"));
        Ok(request)
    });
    let response = client.place(order("tea")).await.unwrap();
    assert_eq!(response.metadata().get("seen").unwrap(), "Bearer abc -");
    assert_eq!(texts(client.watch(order("tea")).await.unwrap().into_inner()).await.len(), 3);
    assert_eq!(client.upload(iter([order("tea")])).await.unwrap().into_inner().text, "tea");
    assert_eq!(texts(client.chat(iter([order("tea")])).await.unwrap().into_inner()).await, ["tea"]);
}

#[tokio::test]
async fn an_interceptor_that_refuses_ends_the_call_with_its_status() {
    let refuse = |_: Request<()>| {
        let mut status = Status::unauthenticated("no token");
        status.metadata_mut().insert("why", "expired".parse().expect("ASCII"));
        Err(status)
    };
    let mut client = OrdersClient::with_interceptor(channel().await, refuse);
    let unary = client.place(order("tea")).await.unwrap_err();
    let stream = client.chat(iter([order("tea")])).await.unwrap_err();
    for status in [unary, stream] {
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "no token"));
        assert_eq!(status.metadata().get("why").unwrap(), "expired");
    }
}

#[tokio::test]
async fn an_interceptor_is_a_type_that_a_struct_can_hold() {
    #[derive(Clone)]
    struct Token;
    impl tonic::service::Interceptor for Token {
        fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
            Ok(request)
        }
    }
    struct App {
        orders: OrdersClient<tonic::service::interceptor::InterceptedService<Channel, Token>>,
    }
    let app = App { orders: OrdersClient::with_interceptor(channel().await, Token) };
    // Clients are cloned for each call, and used from other tasks.
    let mut orders = app.orders.clone();
    let placed = tokio::spawn(async move { orders.place(order("tea")).await });
    assert_eq!(placed.await.unwrap().unwrap().into_inner().text, "tea");
}

#[tokio::test]
async fn compressed_messages_pass_in_both_directions() {
    let mut client = OrdersClient::new(channel().await).send_compressed(Gzip).accept_compressed(Gzip);
    let response = client.place(order("tea ".repeat(10_000))).await.unwrap();
    assert_eq!(response.metadata().get("seen").unwrap(), "- gzip");
    assert_eq!(response.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(response.into_inner().text.len(), 40_000);
    let chat = client.chat(iter(["tea", "milk"].map(order))).await.unwrap();
    assert_eq!(texts(chat.into_inner()).await, ["tea", "milk"]);
}

#[tokio::test]
async fn limits_of_message_sizes_hold() {
    let channel = channel().await;
    let mut client = OrdersClient::new(channel.clone()).max_decoding_message_size(1_000);
    let status = client.place(order("x".repeat(2_000))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let mut client = OrdersClient::new(channel.clone()).max_encoding_message_size(1_000);
    let status = client.place(order("x".repeat(2_000))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    // Above tonic's default of 4 MiB, on both sides.
    let mut client = OrdersClient::new(channel).max_decoding_message_size(8 << 20);
    assert_eq!(client.place(order("x".repeat(5 << 20))).await.unwrap().into_inner().text.len(), 5 << 20);
}

#[tokio::test]
async fn an_origin_is_taken() {
    let origin = "http://orders.shop:50051".parse().unwrap();
    let mut client = OrdersClient::with_origin(channel().await, origin);
    assert_eq!(client.place(order("tea")).await.unwrap().into_inner().text, "tea");
    let origin = "http://orders.shop:50051".parse().unwrap();
    let pass = |request: Request<()>| Ok(request);
    let service = tonic::service::interceptor::InterceptedService::new(channel().await, pass);
    let mut client = OrdersClient::with_origin(service, origin);
    assert_eq!(client.place(order("tea")).await.unwrap().into_inner().text, "tea");
}
